"""The engine: images in, detections in original pixels out.

Plans are run by the C++ executor (csrc/engine), the same that C++ programs use; this module opens images and gives
results their types.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from graphdet.errors import BadInput
from graphdet.records import Array, Detections, Panoptic
from graphdet.runtime.adapters import Segment, open_segment
from graphdet.runtime.artefact import Artefact, read_artefact
from graphdet.runtime.header import NativeStep
from graphdet.runtime.kernels import kernels
from graphdet.runtime.masks import GridMasks
from graphdet.runtime.panoptic import segments
from graphdet.runtime.preprocess import Image, from_dlpack, is_image, pictures

Boxes = Any  # f32[K 4] or what NumPy makes one of
Watch = Callable[[str, Array], None]
Found = tuple[Array, Array, Array, tuple[int, int], tuple[Array, Array] | None]


class Engine:
    """A compiled detector, ready to run on this machine.

    May be called from several threads at once: each call has its own buffers, which are kept for later calls. As a
    context manager it is closed at the end.

    Args:
        artefact: what `read_artefact` returned, or one built in memory.
        threads: number of CPU threads for segments; None leaves it to the backend.
        chunk: images run at once where the batch is dynamic.
        workers: threads that do what is submitted.
        queue: submissions that may wait beside those that run.
        lean: use little memory rather than little time. Weights that the backend has made its own copies of go to a
            temporary file, and what a segment or a call needs only while it runs is given back before the next one.

    Raises:
        BadInput: a number is less than 1.
        CorruptArtefact, FutureArtefact: the plan cannot be run as written.
        BackendMissing: a package that the target needs, or the extension, is not installed.
        PrecisionMismatch: the backend does not compute in the artefact's precision.
    """

    def __init__(
        self, artefact: Artefact, *, threads: int | None = None, chunk: int = 8, workers: int = 1, queue: int = 32,
        lean: bool = False,
    ) -> None:  # fmt: skip
        if threads is not None and threads < 1:
            raise BadInput(f"threads is {threads}, expected at least 1", help="leave it out for the backend's choice")
        self.artefact = artefact
        self.header = artefact.header
        self.classes = artefact.header.classes
        boxes = artefact.header.input.given.get("proposals.boxes")
        self.proposals = boxes.shape[0] if boxes else 0  # how many boxes of an image it is given at most
        self._chunk = artefact.header.input.batch or chunk
        # What the executor needs: the file's own table of blobs, its certificate and provenance are for readers.
        header = replace(artefact.header, certificate={}, provenance={}, blobs=()).as_dict()

        def opened(name: str, threads: int | None) -> Segment:
            blob = artefact.blob(f"segment:{name}")
            return open_segment(artefact.header.target, blob, threads=threads, lean=lean)

        self._native = kernels().Engine(
            json.dumps(header),
            artefact.blob("constants") if "constants" in artefact.blobs else b"",
            opened,
            threads=threads or 0,
            chunk=chunk,
            workers=workers,
            queue=queue,
            lean=lean,
        )
        # Also at exit, while threads may still take the interpreter's lock.
        self._closer = weakref.finalize(self, self._native.close)

    def __call__(
        self,
        images: Image | Iterable[Image],
        *,
        proposals: Boxes | Sequence[Boxes] | None = None,
        score: float | None = None,
        iou: float | None = None,
        order: str = "bgr",
    ) -> list[Detections]:
        """Detect objects in one image or any number of them; images may differ in size.

        Where the size of the engine's input is bounded, small images are padded to the least, and large ones are scaled
        to fit the most.

        Args:
            images: a path, uint8 array, or anything with `__dlpack__` on the CPU, such as a torch tensor (see
                `prepare`); or a list of them. An empty list gives an empty list.
            proposals: where to look, for a detector that is given boxes (Fast R-CNN): [K 4], (x1, y1, x2, y2) in pixels
                of the image; for a list of images a list of them. No boxes are a normal input: nothing is found.
            score: keep objects above this score, 0..1, instead of the built-in threshold.
            iou: suppress boxes that overlap more than this, 0..1, instead of the built-in threshold.
            order: channel order of arrays, `bgr` or `rgb`.

        Returns:
            For each image its detections, best first, boxes in pixels of the original image.

        Raises:
            BadImage, MissingFile: an image cannot be used.
            BadInput: a threshold lies outside 0..1 or the engine has none of that name; proposals are missing, too
                many, of another shape or not finite, or the detector takes none.
        """
        given = _thresholds({"score_threshold": score, "iou_threshold": iou})
        items, boxes = _items(images, proposals)
        found: list[Detections] = []
        for start in range(0, max(1, len(items)), self._chunk):  # files of one chunk are open at a time
            part = pictures(items[start : start + self._chunk], order=order, first=start)
            own = boxes and boxes[start : start + self._chunk]
            found += self._detections(self._native.detect(part, own, given, first=start))
        return found

    def submit(
        self,
        images: Image | Iterable[Image],
        *,
        proposals: Boxes | Sequence[Boxes] | None = None,
        score: float | None = None,
        iou: float | None = None,
        order: str = "bgr",
    ) -> Future[list[Detections]]:
        """Detect objects on the engine's own threads; arguments and results are those of a call.

        Returns as soon as the work is in the queue, which it waits for while the queue is full. The result is a
        `concurrent.futures.Future`: `asyncio.wrap_future` makes it awaitable, and `cancel` works until the work is
        begun. Arrays must stay as they are until then.

        Raises:
            BadImage, MissingFile: an image cannot be used.
            BadInput: a threshold or the proposals cannot be read as such. All other failures come with the future.
            EngineClosed: the engine was closed.
        """
        given = _thresholds({"score_threshold": score, "iou_threshold": iou})
        items, boxes = _items(images, proposals)
        future: Future[list[Detections]] = Future()
        self._native.submit(pictures(items, order=order), boxes, given, future, self._detections)
        return future

    def panoptic(self, images: Image | Iterable[Image], *, order: str = "bgr") -> list[Panoptic]:
        """Give each pixel of one image, or of any number, to a segment or to none; arguments as of a call.

        Raises:
            BadImage, MissingFile: an image cannot be used.
            BadInput: the detector is not panoptic.
        """
        items = [images] if is_image(images) else list(images)
        found: list[Panoptic] = []
        for start in range(0, max(1, len(items)), self._chunk):
            part = pictures(items[start : start + self._chunk], order=order, first=start)
            made = self._native.panoptic(part)
            found += [segments(drawn, labels, things, self.classes) for drawn, labels, things in made]
        return found

    def close(self) -> None:
        """Cancel submitted work that waits, and return when what runs is done. Plain calls go on working."""
        self._native.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        pixels: Array,
        size: Array,
        geometry: Array,
        *,
        inputs: Mapping[str, Array] | None = None,
        watch: Watch | None = None,
        **thresholds: float,
    ) -> dict[str, Array]:
        """Run the plan on one prepared batch and return the padded outputs as they are.

        Args:
            pixels: f32[N 3 H W]; N, H and W as the engine was built for, H and W multiples of the divisor.
            size: f32[N 2], unpadded (height, width) of each image in net pixels.
            geometry: f32[N 4], (scale_x, scale_y, offset_x, offset_y), net = image * scale + offset.
            inputs: what comes with the images beside, by name: `proposals.boxes` f32[N K 4], boxes in pixels of the
                original images, of which `proposals.count` i64[N] exist. `header.input.given` says what it is.
            watch: called with the name and array of each value that a step makes, for inspection; the array is only
                valid during the call.
            thresholds: values by graph input name, in place of the defaults.

        The arrays may be anything with `__dlpack__` on the CPU.

        Returns:
            boxes f32[N K 4] xyxy in original pixels, not clipped · scores f32[N K] · labels i64[N K] ·
            count i64[N]; rows past the count are padding · masks f32[N M P Q], where the detector predicts them, M at
            least the largest count · of a panoptic detector, segment_scores, segment_labels, segment_things and
            segment_logits, what its queries say of segments.

        Raises:
            BadInput: an array is missing or has another shape or dtype, or a threshold is unknown or outside 0..1.
            InternalError: a step failed, or the plan's outputs have other shapes than promised here.
        """
        given = _thresholds(thresholds)
        batch = {"pixels": pixels, "size": size, "geometry": geometry}
        for name, value in batch.items():
            array = batch[name] = from_dlpack(value)
            if array.dtype != np.float32:
                raise BadInput(f"{name} has dtype {array.dtype}, expected float32")
        others = {name: from_dlpack(value) for name, value in (inputs or {}).items()}
        outputs: dict[str, Array] = self._native.run(*batch.values(), others, given, watch)
        return outputs

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

    def _detections(self, found: list[Found]) -> list[Detections]:
        return [
            Detections(boxes, scores, labels, self.classes, size, masks and GridMasks(*masks, size))
            for boxes, scores, labels, size, masks in found
        ]


def load(path: str | Path, *, threads: int | None = None, lean: bool = False) -> Engine:
    """Open a `.gdet` file as an engine; arguments as of `Engine`.

    Raises:
        MissingFile, NotAnArtefact, TruncatedArtefact, FutureArtefact, CorruptArtefact: the file cannot be used.
        BackendMissing: a package that its target needs is not installed.
    """
    return Engine(read_artefact(path), threads=threads, lean=lean)


def _items(
    images: Image | Iterable[Image], proposals: Boxes | Sequence[Boxes] | None
) -> tuple[list[Image], list[Array] | None]:
    """Images, and the proposals of each as f32[K 4], from one image or many."""
    one = is_image(images)
    items = [images] if one else list(images)
    if proposals is None:
        return items, None
    boxes = [_boxes(given, i) for i, given in enumerate([proposals] if one else proposals)]
    if len(boxes) != len(items):
        raise BadInput(f"proposals for {len(boxes)} of {len(items)} images", help="give one array for each image")
    return items, boxes


def _boxes(given: Boxes, number: int) -> Array:
    """Boxes as f32[K 4], dense; none in any shape."""
    try:
        array = np.ascontiguousarray(from_dlpack(given) if hasattr(given, "__dlpack__") else given, np.float32)
    except (TypeError, ValueError) as error:
        raise BadInput(f"proposals of image {number} are no boxes: {error}", help="give an array [K, 4]") from error
    if array.size and (array.ndim != 2 or array.shape[1] != 4):
        shape = "x".join(map(str, array.shape))
        raise BadInput(f"proposals of image {number} have shape {shape}, expected Kx4", help="rows are x1, y1, x2, y2")
    return array.reshape(-1, 4)


def _thresholds(given: Mapping[str, float | None]) -> dict[str, float]:
    values = {name: value for name, value in given.items() if value is not None}
    for name, value in values.items():
        if not isinstance(value, (int, float, np.number)):
            raise BadInput(f"{name} is {value!r}, expected a number in 0..1")
    return {name: float(value) for name, value in values.items()}
