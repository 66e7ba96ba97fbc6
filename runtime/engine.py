"""The engine: images in, detections in original pixels out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.errors import BadInput, InternalError, nearest
from graphdet.records import Array, Detections
from graphdet.runtime.artefact import Artefact, read_artefact
from graphdet.runtime.header import DETECTIONS, NativeStep
from graphdet.runtime.plan import Executor, Watch
from graphdet.runtime.preprocess import Image, Prepared, prepare


class Engine:
    """A compiled detector, ready to run on this machine. May be called from several threads; runs follow one another.

    Args:
        artefact: what `read_artefact` returned, or one built in memory.
        threads: number of CPU threads for segments; None leaves it to the backend.
        chunk: images run at once where the batch is dynamic.

    Raises:
        BadInput: `threads` or `chunk` is less than 1.
        CorruptArtefact, FutureArtefact: the plan cannot be run as written.
        BackendMissing: a package that the target needs is not installed.
        PrecisionMismatch: the backend does not compute in the artefact's precision.
    """

    def __init__(self, artefact: Artefact, *, threads: int | None = None, chunk: int = 8) -> None:
        if threads is not None and threads < 1:
            raise BadInput(f"threads is {threads}, expected at least 1", help="leave it out for the backend's choice")
        if chunk < 1:
            raise BadInput(f"chunk is {chunk}, expected at least 1")
        self.artefact = artefact
        self.header = artefact.header
        self.classes = artefact.header.classes
        self._chunk = artefact.header.input.batch or chunk
        self._executor = Executor(artefact, threads=threads)

    def __call__(
        self,
        images: Image | Iterable[Image],
        *,
        score: float | None = None,
        iou: float | None = None,
        order: str = "bgr",
    ) -> list[Detections]:
        """Detect objects in one image or any number of them; images may differ in size.

        Args:
            images: a path or uint8 array (see `prepare`), or a list of them. An empty list gives an empty list.
            score: keep objects above this score, 0..1, instead of the built-in threshold.
            iou: suppress boxes that overlap more than this, 0..1, instead of the built-in threshold.
            order: channel order of arrays, `bgr` or `rgb`.

        Returns:
            For each image its detections, best first, boxes in pixels of the original image.

        Raises:
            BadImage, MissingFile: an image cannot be used.
            BadInput: a threshold lies outside 0..1 or the engine has none of that name.
        """
        given = {"score_threshold": score, "iou_threshold": iou}
        thresholds = {name: value for name, value in given.items() if value is not None}
        self._thresholds(thresholds)
        items = [images] if isinstance(images, (str, Path, np.ndarray)) else list(images)
        found: list[Detections] = []
        for start in range(0, len(items), self._chunk):
            part = items[start : start + self._chunk]
            batch = prepare(part, self.header.preprocess, size=self.header.input.size, order=order, first=start)
            found += self._detect(batch, thresholds)
        return found

    def run(
        self, pixels: Array, size: Array, geometry: Array, *, watch: Watch | None = None, **thresholds: float
    ) -> dict[str, Array]:
        """Run the plan on one prepared batch and return the padded outputs as they are.

        Args:
            pixels: f32[N 3 H W]; N, H and W as the engine was built for, H and W multiples of the divisor.
            size: f32[N 2], unpadded (height, width) of each image in net pixels.
            geometry: f32[N 4], (scale_x, scale_y, offset_x, offset_y), net = image * scale + offset.
            watch: called with the name and array of each value that a step makes, for inspection.
            thresholds: values by graph input name, in place of the defaults.

        Returns:
            boxes f32[N K 4] xyxy in original pixels, not clipped · scores f32[N K] · labels i64[N K] ·
            count i64[N]; rows past the count are padding.

        Raises:
            BadInput: an array has another shape or dtype, or a threshold is unknown or outside 0..1.
            InternalError: a step failed, or the plan's outputs have other shapes than promised here.
        """
        values = self._thresholds(thresholds)
        self._check(pixels, size, geometry)
        inputs = {"pixels": pixels, "size": size, "geometry": geometry}
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        out = self._executor.run({**arrays, **values}, watch=watch)
        _check_outputs(out, len(pixels))
        return out

    def info(self) -> dict[str, Any]:
        """JSON-ready facts: what the artefact holds, how it runs, and its certificate."""
        fields = self.header.as_dict()
        plan = fields.pop("plan")
        fields["blobs"] = {name: len(self.artefact.blobs[name]) for name in self.artefact.blobs}
        fields["steps"] = [
            {"native": step.op, "line": step.line} if isinstance(step, NativeStep) else {"segment": step.segment}
            for step in self.header.plan.steps
        ]
        return {**fields, "outputs": plan["outputs"], "memory": plan["memory"]}

    def _thresholds(self, given: dict[str, float]) -> dict[str, Array]:
        known = self.header.thresholds
        for name, value in given.items():
            if name not in known:
                raise BadInput(
                    f"this engine has no input {name!r}; it has {', '.join(known) or 'no thresholds'}",
                    help=nearest(name, known),
                )
            if not isinstance(value, (int, float, np.number)) or not (math.isfinite(value) and 0 <= value <= 1):
                raise BadInput(f"{name} is {value}, expected a number in 0..1")
        return {name: np.asarray(given.get(name, default), np.float32) for name, default in known.items()}

    def _check(self, pixels: Array, size: Array, geometry: Array) -> None:
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[0] < 1:
            raise BadInput(f"pixels has shape {list(pixels.shape)}, expected [N, 3, H, W] with N at least 1")
        batch, _, height, width = pixels.shape
        built, divisor = self.header.input, self.header.preprocess.divisor
        if built.batch not in (None, batch):
            raise BadInput(f"the batch has {batch} images, the engine was built for {built.batch}")
        if built.size not in (None, (height, width)):
            raise BadInput(f"pixels are {height}x{width}, the engine was built for {built.size}")
        if built.size is None and (height < 1 or width < 1 or height % divisor or width % divisor):
            raise BadInput(f"pixels are {height}x{width}, expected multiples of {divisor}")
        for name, array, shape in (("size", size, (batch, 2)), ("geometry", geometry, (batch, 4))):
            if array.shape != shape:
                raise BadInput(f"{name} has shape {list(array.shape)}, expected {list(shape)}")
        for name, array in (("pixels", pixels), ("size", size), ("geometry", geometry)):
            if array.dtype != np.float32:
                raise BadInput(f"{name} has dtype {array.dtype}, expected float32")

    def _detect(self, batch: Prepared, thresholds: dict[str, float]) -> list[Detections]:
        missing = (self.header.input.batch or 0) - len(batch.shapes)
        pixels, size, geometry = (_repeat_last(x, missing) for x in (batch.pixels, batch.size, batch.geometry))
        out = self.run(pixels, size, geometry, watch=None, **thresholds)
        return [self._collect(out, i, shape) for i, shape in enumerate(batch.shapes)]

    def _collect(self, out: dict[str, Array], image: int, shape: tuple[int, int]) -> Detections:
        count = int(out["count"][image])
        boxes, scores, labels = (out[name][image, :count] for name in ("boxes", "scores", "labels"))
        if self.header.clip:
            height, width = shape
            boxes = np.clip(boxes, 0, np.asarray((width, height, width, height), np.float32))
            keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        return Detections(boxes, scores, labels, self.classes, shape)


def load(path: str | Path, *, threads: int | None = None) -> Engine:
    """Open a `.gdet` file as an engine.

    Raises:
        MissingFile, NotAnArtefact, TruncatedArtefact, FutureArtefact, CorruptArtefact: the file cannot be used.
        BackendMissing: a package that its target needs is not installed.
    """
    return Engine(read_artefact(path), threads=threads)


def _check_outputs(out: dict[str, Array], batch: int) -> None:
    shapes = {name: list(out[name].shape) for name in DETECTIONS}
    rows = out["scores"].shape[1] if out["scores"].ndim == 2 else 0
    expected = {"boxes": [batch, rows, 4], "scores": [batch, rows], "labels": [batch, rows], "count": [batch]}
    if shapes != expected:
        raise InternalError(f"the plan gave outputs of shapes {shapes}, expected {expected}")


def _repeat_last(array: Array, times: int) -> Array:
    return np.concatenate([array, *([array[-1:]] * times)]) if times > 0 else array
