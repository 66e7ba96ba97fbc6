"""Panoptic quality (Kirillov et al. 2019, arXiv:1801.00868, sec. 4), by the rules of COCO's evaluation.

A figure of -1 stands where nothing was annotated and nothing found: there is nothing to average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.data.coco import read_json
from graphdet.data.panoptic import PanopticFile
from graphdet.errors import BadDataset
from graphdet.records import Array, Panoptic


@dataclass(frozen=True)
class Quality:
    """What became of the segments of one class.

    iou: sum over matched pairs · matched: pairs · wrong: found segments without a partner · missed: annotated ones.
    """

    iou: float
    matched: int
    wrong: int
    missed: int

    @property
    def counted(self) -> bool:
        """Whether there was anything to find, or was found."""
        return self.matched + self.wrong + self.missed > 0

    @property
    def figures(self) -> dict[str, float]:
        """PQ, SQ (the mean IoU of pairs) and RQ (the F1 of matching), 0..1, or -1 where nothing counts."""
        if not self.counted:
            return dict.fromkeys(FIGURES, -1.0)
        weight = self.matched + 0.5 * self.wrong + 0.5 * self.missed
        segmented = self.iou / self.matched if self.matched else 0.0
        return {"PQ": self.iou / weight, "SQ": segmented, "RQ": self.matched / weight}


FIGURES = ("PQ", "SQ", "RQ")


@dataclass(frozen=True)
class PanopticResult:
    """Panoptic quality by class. per_class: in the order of labels · things: whether each is of things · images."""

    per_class: dict[str, Quality]
    things: tuple[bool, ...]
    images: int

    def figures(self) -> dict[str, dict[str, float]]:
        """PQ, SQ and RQ, 0..1, of `all` classes, `things` and `stuff`: means over the classes that count."""
        rows = list(zip(self.per_class.values(), self.things, strict=True))
        groups = {
            "all": [q for q, _ in rows],
            "things": [q for q, thing in rows if thing],
            "stuff": [q for q, thing in rows if not thing],
        }
        return {name: _mean([q.figures for q in group if q.counted]) for name, group in groups.items()}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            **self.figures(),
            "images": self.images,
            "per_class": {name: quality.figures for name, quality in self.per_class.items()},
        }


class PanopticEvaluator:
    """Collects segments image by image. classes: names by label; things: for each, whether it is of things."""

    def __init__(self, classes: Sequence[str], things: Sequence[bool]) -> None:
        self.classes, self.things, self.images = tuple(classes), tuple(things), 0
        self._sums = np.zeros((len(self.classes), 4))

    def add(self, truth: Panoptic, found: Panoptic) -> None:
        """Add one image. Raises BadDataset unless both are of one size, and of labels and ids that are known."""
        if truth.map.shape != found.map.shape:
            raise BadDataset(
                f"segments on {found.map.shape} pixels cannot be compared with {truth.map.shape} annotated"
            )
        for one in (truth, found):
            if len(one) and not 0 <= one.labels.min() <= one.labels.max() < len(self.classes):
                raise BadDataset(f"there are labels outside the {len(self.classes)} classes")
        self._sums += compare(truth, found, len(self.classes))
        self.images += 1

    def summarize(self) -> PanopticResult:
        """The quality over the images added so far."""
        rows = {
            name: Quality(iou, int(matched), int(wrong), int(missed))
            for name, (iou, matched, wrong, missed) in zip(self.classes, self._sums.tolist(), strict=True)
        }
        return PanopticResult(rows, self.things, self.images)


def compare(truth: Panoptic, found: Panoptic, classes: int) -> Array:
    """Summed IoU of pairs, pairs, wrong and missed segments of each class in one image, f64[classes 4].

    A pair has one class and an IoU above 0.5, void pixels of the truth aside; there is at most one for a segment.
    Crowds are neither matched nor missed. A found segment without partner is not wrong where more than half of it lies
    on void and on the last listed crowd of its class (as COCO's evaluation, which keeps one crowd a class).
    """
    rows, columns = _positions(truth), _positions(found)
    joint = np.bincount((rows * (len(found) + 1) + columns).ravel(), minlength=(len(truth) + 1) * (len(found) + 1))
    joint = joint.reshape(len(truth) + 1, len(found) + 1)
    area, common, void = joint.sum(0)[1:], joint[1:, 1:], joint[0, 1:]
    union = joint.sum(1)[1:, None] + area - common - void
    iou = common / np.maximum(union, 1)
    pairs = (truth.labels[:, None] == found.labels) & ~truth.crowd[:, None] & (iou > 0.5)
    crowd_of = np.zeros(classes, np.int64)
    crowd_of[truth.labels[truth.crowd]] = np.flatnonzero(truth.crowd) + 1  # of equal labels, NumPy keeps the last
    row = crowd_of[found.labels]
    excused = void + np.where(row > 0, joint[row, np.arange(1, len(found) + 1)], 0)
    wrong = ~pairs.any(0) & (excused / np.maximum(area, 1) <= 0.5)
    missed = ~pairs.any(1) & ~truth.crowd
    matched = found.labels[pairs.any(0)]
    return np.stack(
        [
            np.bincount(matched, (iou * pairs).sum(0)[pairs.any(0)], minlength=classes),
            np.bincount(matched, minlength=classes),
            np.bincount(found.labels[wrong], minlength=classes),
            np.bincount(truth.labels[missed], minlength=classes),
        ],
        axis=1,
    )


def evaluate_panoptic(truth: PanopticFile, results: str | Path) -> PanopticResult:
    """Score a results json, with its folder of PNGs beside it, on all images of the annotations.

    Categories of results are known by name where the json lists them, else by the ids of the annotations.

    Raises:
        MissingFile: the json or the folder does not exist.
        BadDataset: results are malformed, or not of exactly the annotated images.
        BadImage: a PNG cannot be read.
    """
    found = PanopticFile(results, categories=None if _has_categories(results) else truth.categories)
    labels = {name: label for label, name in enumerate(truth.classes)}
    strange = [name for name in found.classes if name not in labels]
    if strange:
        raise BadDataset(f"{found.file}: class {strange[0]!r} is none of the {len(labels)} annotated ones")
    place = np.array([labels[name] for name in found.classes], np.int64)
    wanted, given = ({image["id"] for image in one.images} for one in (truth, found))
    for i in sorted(given ^ wanted):
        fault = "is not annotated" if i in given else "has no result"
        raise BadDataset(f"{found.file}: image {i} {fault}", help="results hold each annotated image once")
    evaluator = PanopticEvaluator(truth.classes, truth.things)
    for image in truth.images:
        one = found.panoptic(image["id"])
        evaluator.add(truth.panoptic(image["id"]), replace(one, labels=place[one.labels]))
    return evaluator.summarize()


def _has_categories(results: str | Path) -> bool:
    return "categories" in read_json(Path(results))


def _positions(one: Panoptic) -> Array:
    """For each pixel 1 + the position of its segment, or 0 for void."""
    order = np.argsort(one.ids)
    known = np.concatenate([[0], one.ids[order]])
    at = np.minimum(np.searchsorted(known, one.map), len(known) - 1)
    if not np.array_equal(known[at], one.map):
        strange = one.map[known[at] != one.map][0]
        raise BadDataset(f"segment {strange} is in the map of pixels, but not among the segments")
    return np.asarray(np.concatenate([[0], order + 1])[at])


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) if rows else -1.0 for name in FIGURES}
