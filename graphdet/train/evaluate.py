"""Evaluating weights in PyTorch: the inference graph of the detector being trained, as an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from graphdet.compiler.backends.torch import load_weights, to_module
from graphdet.data.dataset import Dataset
from graphdet.eval import CocoResult, evaluate
from graphdet.ir import Variant, trace
from graphdet.records import Array, Detections
from graphdet.runtime.preprocess import prepare


class TorchEngine:
    """A detector's inference graph run by PyTorch: images in, detections in their pixels, clipped to them, out."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.graph = trace(variant, "infer")
        self.module = to_module(self.graph).eval()

    def load(self, weights: Mapping[str, Array]) -> None:
        """Use these weights from now on. Raises BadWeights where they do not fit."""
        load_weights(self.module, weights)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Path | Array], /) -> list[Detections]:
        """One `Detections` per image."""
        if not images:
            return []
        ready = prepare(images, self.variant.preprocess)
        inputs = {"pixels": ready.pixels, "size": ready.size, "geometry": ready.geometry}
        found = self.module(**{k: torch.from_numpy(v) for k, v in inputs.items() if k in self.graph.inputs})
        arrays = {k: v.numpy() for k, v in found.items()}
        return [self._detections(arrays, i, shape) for i, shape in enumerate(ready.shapes)]

    def _detections(self, found: Mapping[str, Array], i: int, shape: tuple[int, int]) -> Detections:
        count, (height, width) = int(found["count"][i]), shape
        boxes = np.clip(found["boxes"][i, :count], 0, np.array([width, height, width, height], np.float32))
        classes = self.variant.row.classes
        return Detections(boxes, found["scores"][i, :count], found["labels"][i, :count], classes, shape)


def evaluate_weights(variant: Variant, weights: Mapping[str, Array], data: Dataset, *, batch: int = 16) -> CocoResult:
    """COCO figures of a detector with these weights. Raises BadWeights where they do not fit."""
    engine = TorchEngine(variant)
    engine.load(weights)
    return evaluate(engine, data, batch=batch, progress=False)
