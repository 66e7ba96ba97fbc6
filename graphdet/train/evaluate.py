"""Evaluating weights in PyTorch: the inference graph of the detector being trained, as an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from graphdet.compiler.backends.torch import faster, load_weights, to_module
from graphdet.data.dataset import Dataset
from graphdet.data.proposals import required, stacked
from graphdet.eval import CocoEvaluator, CocoResult
from graphdet.ir import Variant, trace
from graphdet.records import Array, Detections
from graphdet.runtime.masks import GridMasks, whole_canvas
from graphdet.runtime.preprocess import Prepared, prepare
from graphdet.train.batch import most_proposals
from graphdet.train.group import Group


class TorchEngine:
    """A detector's inference graph run by PyTorch: images in, detections in their pixels, clipped to them, out."""

    def __init__(self, variant: Variant, device: torch.device | None = None) -> None:
        self.variant, self.device = variant, device or torch.device("cpu")
        self.graph = trace(variant, "infer")
        self.inputs = {name.replace(".", "_") for name in self.graph.inputs}
        self.proposals = most_proposals(self.graph)
        self.module = faster(to_module(self.graph).eval(), self.device)

    def load(self, weights: Mapping[str, Array]) -> None:
        """Use these weights from now on. Raises BadWeights where they do not fit."""
        load_weights(self.module, weights)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Path | Array], /, proposals: Sequence[Array] | None = None) -> list[Detections]:
        """One `Detections` per image. proposals: for a detector that is given them, f32[K 4] an image, best first."""
        if not images:
            return []
        spec = self.variant.preprocess  # an engine of a letterboxed detector has this input size, whatever the images
        ready = prepare(images, spec, size=spec.size if spec.fit == "letterbox" else None)
        inputs = {"pixels": ready.pixels, "size": ready.size, "geometry": ready.geometry}
        if proposals is not None:
            inputs["proposals_boxes"], inputs["proposals_count"] = stacked(proposals, self.proposals)
        given = {k: torch.from_numpy(v).to(self.device) for k, v in inputs.items() if k in self.inputs}
        arrays = {k: v.cpu().numpy() for k, v in self.module(**given).items()}
        return [self._detections(arrays, i, ready) for i in range(len(ready.shapes))]

    def _detections(self, found: Mapping[str, Array], i: int, ready: Prepared) -> Detections:
        count, (height, width) = int(found["count"][i]), ready.shapes[i]
        boxes, scores, labels = (found[name][i, :count] for name in ("boxes", "scores", "labels"))
        masks = None
        if "masks" in found:
            roi = self.graph.outputs["masks"].type.frame == "roi"
            spans = boxes if roi else whole_canvas(ready.geometry[i], ready.pixels.shape[2:], count)
            masks = GridMasks(found["masks"][i, :count], spans, (height, width))
        clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
        return Detections(clipped, scores, labels, self.variant.row.classes, (height, width), masks)


def evaluate_weights(
    variant: Variant, weights: Mapping[str, Array], data: Dataset, *, batch: int = 8, group: Group | None = None
) -> CocoResult:
    """COCO figures of a detector with these weights. Raises BadWeights where they do not fit.

    The processes of a group share the images; the figures are exactly those of one process.
    """
    group = group or Group()
    engine = TorchEngine(variant, group.device)
    engine.load(weights)
    mine = range(group.rank, len(data), group.world)
    found: dict[int, Detections] = {}
    for first in range(0, len(mine), batch):
        part = mine[first : first + batch]
        samples = [data.sample(i) for i in part]
        boxes = [required(s) for s in samples] if engine.proposals else None
        found.update(zip(part, engine([s.image for s in samples], boxes), strict=True))
    all_found = {i: detections for part in group.gather(found) for i, detections in part.items()}
    evaluator = CocoEvaluator(data)
    for i in range(len(data)):
        evaluator.add_sample(data.sample(i), all_found[i])
    return evaluator.summarize()
