"""What detections lose precision to: COCO's analysis of errors (Hoiem et al. 2012, and cocodataset.org, "analyze").

Each rule forgives more than the one before it, so that the area between two curves is what one kind of error costs:
C75, C50: IoU of .75, .5 · Loc: IoU of .1, so that places count less · Sim: objects of other classes of the same
super-category are not held against the class · Oth: nor are those of any other class · BG: no false detections at all ·
FN: no missed objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphdet.eval.coco import read_results
from graphdet.eval.score import Json, choose_backend, evaluated
from graphdet.records import Array

RULES = ("C75", "C50", "Loc", "Sim", "Oth", "BG", "FN")
SIZES = ("all", "small", "medium", "large")
OVERLAPS = (0.75, 0.5, 0.1)


@dataclass(frozen=True)
class Breakdown:
    """Precision under each rule: f64[7 101 K 4], of `RULES`, recalls 0:.01:1, classes and `SIZES`; -1 without objects.

    classes: names, in the order of the annotations' category ids.
    """

    precision: Array
    classes: tuple[str, ...]

    def figures(self, size: str = "all") -> dict[str, float]:
        """Area under each curve, a mean over the classes with objects of a size; -1 where none has."""
        return self._areas(self.precision[..., SIZES.index(size)])

    def per_class(self, size: str = "all") -> dict[str, dict[str, float]]:
        """As `figures`, of each class."""
        part = self.precision[..., SIZES.index(size)]
        return {name: self._areas(part[:, :, k : k + 1]) for k, name in enumerate(self.classes)}

    def curves(self) -> dict[str, Array]:
        """Mean precision over the classes with objects, at each recall."""
        known = self.precision[..., 0][:, :, self.precision[0, 0, :, 0] > -1]
        return dict(zip(RULES, known.mean(2), strict=True)) if known.size else {}

    def as_dict(self) -> Json:
        """JSON-ready form."""
        sizes = {size: _rounded(self.figures(size)) for size in SIZES}
        return sizes | {"per_class": {name: _rounded(f) for name, f in self.per_class().items()}}

    def _areas(self, part: Array) -> dict[str, float]:
        known = part[:, :, part[0, 0] > -1]
        areas = known.mean((1, 2)) if known.size else np.full(len(RULES), -1.0)
        return dict(zip(RULES, map(float, areas), strict=True))


def break_down(
    truth: Json,
    results: Sequence[Json] | str | Path,
    metric: str = "bbox",
    *,
    backend: str = "auto",
    step: Callable[[], None] = lambda: None,
) -> Breakdown:
    """Score results by all rules.

    Args:
        truth: an instances object; a category without `supercategory` is similar to no other.
        results: rows of a COCO results file, or the file.
        metric: `bbox` or `segm`.
        backend: see `CocoEvaluator`.
        step: called after each class.

    Raises:
        MissingFile, BadDataset: the results are not usable, or of other images or categories.
    """
    images = sorted(image["id"] for image in truth["images"])
    categories = sorted(truth["categories"], key=lambda c: int(c["id"]))
    if isinstance(results, str | Path):
        rows = read_results(Path(results), set(images), {c["id"] for c in categories}, metric)
    else:
        rows = list(results)
    library = choose_backend(backend)

    def precision(truth: Json, rows: list[Json], overlaps: Sequence[float]) -> Array:
        found = evaluated(truth, rows, metric, images, library, overlaps=overlaps).eval["precision"]
        return np.asarray(found)[..., -1]  # [IoU, recall, class, size], 100 detections each

    out = np.full((len(RULES), 101, len(categories), len(SIZES)), -1.0)
    if images and categories:
        out[:3] = precision(truth, rows, OVERLAPS)
    for k, category in enumerate(categories):
        own = [row for row in rows if row["category_id"] == category["id"]]
        if (out[0, 0, k] > -1).any():
            for rule, rivals in ((3, _similar(category, categories)), (4, {c["id"] for c in categories})):
                out[rule, :, k] = precision(_forgiving(truth, category, rivals), own, OVERLAPS[2:])[0, :, 0]
        step()
    known = out[4] > -1
    out[5][known] = out[4][known] > 0
    out[6][known] = 1.0
    return Breakdown(out, tuple(str(c["name"]) for c in categories))


def _similar(category: Json, categories: list[Json]) -> set[int]:
    above = category.get("supercategory")
    return {c["id"] for c in categories if above and c.get("supercategory") == above}


def _forgiving(truth: Json, category: Json, rivals: set[int]) -> Json:
    """The annotations of one class, with those of its rivals as regions where detections do not count."""
    notes = []
    for note in truth["annotations"]:
        if note["category_id"] == category["id"]:
            notes.append(note)
        elif note["category_id"] in rivals:
            notes.append(note | {"category_id": category["id"], "iscrowd": 1, "ignore": 1})
    return truth | {"annotations": notes, "categories": [category]}


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in figures.items()}
