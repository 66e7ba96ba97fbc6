"""Pascal VOC's average precision, at one overlap (Everingham et al. 2010, sec. 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphdet.errors import BadDataset
from graphdet.records import Array, Detections, Truth

Points = Literal["all", "eleven"]
Pair = tuple[Truth, Detections]


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one class.

    objects: how many are counted · scores f64[D], descending · correct b[D] · recall, precision f64[D] after each
    detection · ap: 0..1, or -1 where nothing is annotated.
    """

    objects: int
    scores: Array
    correct: Array
    recall: Array
    precision: Array
    ap: float


@dataclass(frozen=True)
class VocResult:
    """Curves by class name; `mean` over the classes that have objects, -1 where none has."""

    curves: dict[str, Curve]
    overlap: float
    points: Points

    @property
    def mean(self) -> float:
        """Mean average precision."""
        found = [c.ap for c in self.curves.values() if c.ap >= 0]
        return float(np.mean(found)) if found else -1.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the curves' points."""
        rows = {
            name: {"ap": round(c.ap, 6), "objects": c.objects, "detections": len(c.scores), "recall": _last(c.recall)}
            for name, c in self.curves.items()
        }
        return {"mAP": round(self.mean, 6), "overlap": self.overlap, "points": self.points, "per_class": rows}


def evaluate_voc(
    pairs: Iterable[Pair],
    classes: Sequence[str],
    *,
    overlap: float = 0.5,
    points: Points = "all",
    inclusive: bool = False,
) -> VocResult:
    """VOC's figures of detections against truths, an image a pair; labels of both index `classes`.

    Args:
        pairs: truth and detections of each image. Crowd (difficult) objects are not counted, and detections whose best
            overlap is with one are left out.
        classes: class names.
        overlap: least IoU of a correct detection. An object is found once; further detections of it are wrong.
        points: `all`: the area under the precision envelope (VOC 2010 and later) · `eleven`: the mean of the envelope
            at recalls 0, 0.1, ..., 1 (VOC 2007).
        inclusive: count extents as VOC's code does, one more than the difference of the corners.

    Raises:
        BadDataset: a label lies outside the classes.
    """
    images = list(pairs)
    for truth, found in images:
        labels = np.concatenate([truth.labels, found.labels])
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise BadDataset(f"a label lies outside the {len(classes)} classes")
    curves = {name: _curve(images, label, overlap, points, inclusive) for label, name in enumerate(classes)}
    return VocResult(curves, overlap, points)


def average_precision(recall: Array, precision: Array, points: Points = "all") -> float:
    """The area under the envelope of a curve, or the mean of the envelope at eleven recalls."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if points == "eleven":
        return float(np.mean([envelope[recall >= t].max(initial=0.0) for t in np.linspace(0, 1, 11)]))
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def matches(truth: Array, found: Array, overlap: float, *, inclusive: bool = False) -> Array:
    """i64[D]: for detections in descending order of score, the object that each finds.

    That is the object of its largest overlap, if that is at least `overlap`; else -1. Objects may be found several
    times.
    """
    ious = pairwise_iou(found, truth, inclusive=inclusive)
    best = ious.argmax(1) if truth.size else np.zeros(len(found), np.int64)
    good = ious.max(1, initial=0.0) >= overlap
    return np.where(good & (truth.size > 0), best, -1)


def pairwise_iou(a: Array, b: Array, *, inclusive: bool = False) -> Array:
    """f64[A B]: intersection over union of xyxy boxes."""
    extra = 1.0 if inclusive else 0.0
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(high - low + extra, 0, None).prod(2)
    areas = [(v[:, 2:] - v[:, :2] + extra).prod(1) for v in (a, b)]
    return np.asarray(inside / np.maximum(areas[0][:, None] + areas[1][None] - inside, 1e-12))


def _curve(images: Sequence[Pair], label: int, overlap: float, points: Points, inclusive: bool) -> Curve:
    objects, scores, correct = 0, [np.zeros(0)], [np.zeros(0, bool)]
    for truth, found in images:
        mine = truth.take(truth.labels == label)
        chosen = found.labels == label
        order = np.argsort(-found.scores[chosen], kind="stable")
        boxes, its = found.boxes[chosen][order], found.scores[chosen][order]
        objects += int((~mine.crowd).sum())
        hit = matches(mine.boxes, boxes, overlap, inclusive=inclusive)
        first = np.zeros(len(hit), bool)
        first[np.unique(hit, return_index=True)[1]] = True
        counted = np.ones(len(hit), bool) if not len(mine) else ~(mine.crowd[hit] & (hit >= 0))
        scores.append(its[counted])
        correct.append((first & (hit >= 0))[counted])
    all_scores, all_correct = np.concatenate(scores), np.concatenate(correct)
    order = np.argsort(-all_scores, kind="stable")
    all_correct = all_correct[order]
    right = np.cumsum(all_correct)
    recall, precision = right / max(1, objects), right / np.arange(1, len(right) + 1)
    ap = average_precision(recall, precision, points) if objects else -1.0
    return Curve(objects, all_scores[order], all_correct, recall, precision, ap)


def _last(values: Array) -> float:
    return round(float(values[-1]), 6) if len(values) else 0.0
