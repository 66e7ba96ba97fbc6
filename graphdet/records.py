"""Plain records that rooms share: detections, ground truth, and how an image becomes a network input.

Imports nothing of graphdet but errors, so that a deployment needs only NumPy beside the runtime.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]
Mask = tuple[Array, ...] | Array  # outlines, or a bitmap


class Masks(Protocol):
    """Masks of the objects of one image, made when asked for."""

    def __getitem__(self, rows: Array, /) -> Masks:
        """Those of some objects, by index or by flag."""

    def bitmaps(self) -> Array:
        """u8[K height width] of 0 and 1, in pixels of the image."""

    def runs(self) -> list[bytes]:
        """Each mask run-length encoded: the `counts` of COCO's compressed form."""


@dataclass(frozen=True)
class Detections:
    """Objects found in one image, best first.

    boxes: f32[K 4], xyxy in original pixels · scores: f32[K] in 0..1 · labels: i64[K], index into `classes` ·
    classes: class names, may be empty · size: (height, width) of the original image · masks: of a detector that
    predicts them.
    """

    boxes: Array
    scores: Array
    labels: Array
    classes: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)
    masks: Masks | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> Detections:
        """Only the detections whose score is at least `score`."""
        return self.take(self.scores >= score)

    def take(self, keep: Array) -> Detections:
        """The detections at these positions, or where this is true."""
        masks = None if self.masks is None else self.masks[keep]
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep], masks=masks)

    def segmentations(self) -> list[dict[str, Any]]:
        """The masks as COCO's result files hold them: `size` and run-length `counts`; empty without masks."""
        runs = [] if self.masks is None else self.masks.runs()
        return [{"size": list(self.size), "counts": text.decode()} for text in runs]

    def name(self, label: int) -> str:
        """The class name of a label, or the label's number where names are not known."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form: a list of objects with class, label, score and box, and mask where there are any."""
        objects: list[dict[str, Any]] = [
            {
                "class": self.name(int(label)),
                "label": int(label),
                "score": round(float(score), 6),
                "box": [round(float(v), 3) for v in box],
            }
            for box, score, label in zip(self.boxes, self.scores, self.labels, strict=True)
        ]
        for one, mask in zip(objects, self.segmentations(), strict=False):  # of all, or of none
            one["mask"] = mask
        return {"size": list(self.size), "objects": objects}


@dataclass(frozen=True)
class Truth:
    """Annotated objects of one image: boxes f32[G 4] xyxy in original pixels, labels i64[G], crowd b[G].

    crowd: regions that are neither learnt nor counted (COCO's crowds, VOC's difficult objects) · masks: where known,
    one an object: its outlines, a tuple of f32[P 2] points x, y in pixels, or its bitmap u8[H W] of 0 and 1.
    """

    boxes: Array
    labels: Array
    crowd: Array
    masks: tuple[Mask, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, keep: Array) -> Truth:
        """The objects at these positions, or where this is true."""
        places = keep.nonzero()[0] if keep.dtype == bool else keep
        masks = None if self.masks is None else tuple(self.masks[int(i)] for i in places)
        return Truth(self.boxes[places], self.labels[places], self.crowd[places], masks)


@dataclass(frozen=True)
class Panoptic:
    """The segments of one image: each pixel belongs to one of them, or to none, which is void.

    map: i32[H W], the id of each pixel's segment, 0 for void · ids: i64[S] > 0 · labels: i64[S], index into `classes` ·
    crowd: b[S], annotated groups, which count neither for nor against a detector · classes: class names, may be empty ·
    things: b[S], whether a segment is of countable things, where that is known.
    """

    map: Array
    ids: Array
    labels: Array
    crowd: Array
    classes: tuple[str, ...] = ()
    things: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, label: int) -> str:
        """The class name of a label, or the label's number where names are not known."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form: the size and the segments, with class, label and area in pixels; the map is not in it."""
        segments = [
            {"id": int(i), "class": self.name(int(label)), "label": int(label), "area": int((self.map == i).sum())}
            for i, label in zip(self.ids, self.labels, strict=True)
        ]
        return {"size": list(self.map.shape), "segments": segments}


@dataclass(frozen=True)
class Preprocess:
    """How an image of any size becomes a network input. The same record drives training, evaluation and the engine.

    order: channel order the network wants, `bgr` or `rgb` · mean, std: per channel, in that order, on 0..255 values ·
    size: (height, width) of the target area · fit: `letterbox` scales the image to fit inside `size`; `short_side`
    treats `size` as (short, long) limits whatever the orientation (mmdet's keep-ratio rule); `stretch` scales each
    side to that of `size` · pad: value written outside the image, after normalisation · divisor: height and width of
    the network input are multiples of it. Images are placed at the top left.
    """

    order: str = "bgr"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: tuple[int, int] = (640, 640)
    fit: str = "letterbox"
    pad: float = 0.0
    divisor: int = 32

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; `Preprocess.from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocess:
        """Read the form that `as_dict` writes."""
        frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**frozen)
