"""COCO's average precision and recall of detections, collected image by image or read from files.

A figure of -1 stands, as in pycocotools, where nothing was annotated (no objects at all, or none of that size): there
is nothing to average. With annotations and no detections the figures are 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.data.coco import check_annotations, read_annotations, read_json
from graphdet.data.dataset import Dataset, Sample
from graphdet.data.transforms.move import bitmap
from graphdet.data.wrap import Concat
from graphdet.errors import BadDataset, UnknownName, nearest
from graphdet.eval.lvis import lvis_figures
from graphdet.eval.score import METRICS, CocoResult, Json, choose_backend, recalls, score
from graphdet.records import Array, Detections, Truth

AGNOSTIC = ("object",)  # what a region proposal network calls all that it finds


class CocoEvaluator:
    """Collects detections image by image and scores them against the annotations of the images that were added.

    Args:
        truth: a `Dataset`, a COCO instances object, or the path of an instances file. For a dataset with an
            `annotations` attribute (`CocoDetection`) that json object is used, with its areas and crowds; for any other
            dataset the truths of its samples are, with box areas.
        backend: `pycocotools`, `faster` (faster-coco-eval; equal figures) or `auto`: faster where installed.

    Raises:
        BackendMissing: `faster` is asked for and not installed.
        BadDataset: the annotations are not usable.
    """

    def __init__(self, truth: Dataset | Mapping[str, Any] | str | Path, *, backend: str = "auto") -> None:
        self.backend = choose_backend(backend)
        self._dataset = truth if isinstance(truth, Dataset) else None
        self._truths: dict[int, Sample] = {}
        self._json = _annotations_of(truth)
        self._lazy = self._dataset is not None and not hasattr(truth, "annotations")
        self.categories: list[Json] = self._json["categories"]
        self.classes: tuple[str, ...] = tuple(str(c["name"]) for c in self.categories)
        self._known = {image["id"] for image in self._json["images"]}
        self._added: set[int] = set()
        self._rows: list[Json] = []
        self._masked, self._agnostic = True, False
        self._maps: dict[tuple[str, ...], list[int | None]] = {}
        self._joined = truth if isinstance(truth, Concat) and truth.separate else None
        self._parts = [CocoEvaluator(part, backend=backend) for part in self._joined.parts] if self._joined else []

    def __len__(self) -> int:
        """Number of images added so far."""
        return len(self._added)

    def add(self, image_id: int, detections: Detections) -> None:
        """Add all detections of one image; an image where nothing was found is added with zero detections.

        Labels are matched to the annotations by class name where the two lists of names differ; classes that the
        annotations do not know are left out. Detections of the one class `object`, where the annotations know none of
        that name, say nothing of classes: they are scored as proposals.

        Raises:
            BadDataset: the image is unknown or was added before, or the labels do not fit the annotated classes.
        """
        if not self._lazy and image_id not in self._known:
            raise BadDataset(f"image {image_id!r} is not in the annotations")
        if image_id in self._added:
            raise BadDataset(f"image {image_id!r} was evaluated twice")
        to_category = self._category_ids(detections.classes)
        if len(detections) and not 0 <= detections.labels.min() <= detections.labels.max() < len(to_category):
            raise BadDataset(f"image {image_id!r} has labels outside the {len(to_category)} classes")
        self._rows += _rows(image_id, detections, to_category)
        self._masked &= not len(detections) or detections.masks is not None
        self._added.add(image_id)
        if self._joined is not None:
            part, index = self._joined.place(image_id - 1)
            self._parts[part].add_sample(self._joined.parts[part].sample(index), detections)

    def add_sample(self, sample: Sample, detections: Detections) -> None:
        """As `add`, for a sample of the dataset; spares a later pass over a dataset that is expensive to read."""
        self._truths[sample.id] = sample
        self.add(sample.id, detections)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was added can be scored by: `bbox`, and `segm` where there are masks on both sides; or `proposal`."""
        if self._agnostic:
            return ("proposal",)
        shaped = any("segmentation" in row for row in self._rows) and self._masked
        annotated = any(note.get("segmentation") for note in self._ground_truth()["annotations"])
        return ("bbox", "segm") if shaped and annotated else ("bbox",)

    def summarize(self, metrics: Sequence[str] | None = None) -> CocoResult:
        """Score what was added so far.

        metrics: of `METRICS`; None takes those that fit. The figures of boxes are always there.

        Raises:
            UnknownName: a metric is unknown.
            BadDataset: masks are to be scored, and the detections or the annotations have none; or classes, of which
                the detections know none.
        """
        names = self.metrics if metrics is None else check_metrics(metrics)
        truth, images = self._ground_truth(), sorted(self._added)
        if self._agnostic and set(names) != {"proposal"}:
            raise BadDataset("the detector tells no classes apart", help="score its boxes as proposals: proposal alone")
        scored = ([], []) if self._agnostic else (self._rows, images)
        result = score(truth, scored[0], "bbox", scored[1], self.backend)
        result = replace(result, images=len(images), detections=len(self._rows))
        also: dict[str, dict[str, float]] = {}
        if any(_shape_of(n) == "segm" for n in names) and self._rows and "segm" not in self.metrics:
            raise BadDataset("masks cannot be scored: the detections or the annotations have none")
        if "segm" in names:
            also["segm"] = score(truth, self._rows, "segm", images, self.backend).figures()
        for name in (n for n in names if n.startswith("lvis")):
            also[name] = lvis_figures(truth, self._rows, _shape_of(name), images, self.backend)
        if "proposal" in names:
            also["proposal"] = recalls(truth, self._rows, images, self.backend)
        return replace(result, also=also, parts=tuple(part.summarize(metrics) for part in self._parts))

    def write_results(self, file: str | Path, metric: str = "bbox") -> None:
        """Write a COCO results file: a list of image_id, category_id, score, and bbox xywh or segmentation.

        metric: `bbox`, `segm`, or `proposal`, whose boxes are all of category 1.
        """
        shape = "segmentation" if metric == "segm" else "bbox"
        category = {"category_id": 1} if metric == "proposal" else {}
        keys = ("image_id", "category_id", shape, "score")
        rows = [{key: row[key] for key in keys} | category for row in self._rows]
        Path(file).write_text(json.dumps(rows), encoding="utf-8")

    def _category_ids(self, classes: tuple[str, ...]) -> list[int | None]:
        """Category id of each label; None for a class without annotations."""
        if classes not in self._maps:
            self._agnostic |= classes == AGNOSTIC and classes[0] not in self.classes
            first = [c["id"] for c in self.categories[:1]] or [None]
            self._maps[classes] = first if self._agnostic else _categories_of(classes, self.categories)
        return self._maps[classes]

    def _ground_truth(self) -> Json:
        if self._dataset is None or not self._lazy:
            return self._json
        missing = self._added - self._truths.keys()
        for index in range(len(self._dataset) if missing else 0):
            sample = self._dataset.sample(index)
            if sample.id in missing:
                self._truths[sample.id] = sample
        absent = missing - self._truths.keys()
        if absent:
            raise BadDataset(f"images {sorted(absent)[:5]} are not in the dataset")
        return self._json | annotations_of(self._truths.values(), self.classes)


def result_rows(image_id: int, detections: Detections, dataset: Dataset) -> list[Json]:
    """One image's rows of a COCO results file, with boxes, and masks where there are any.

    Category ids are those of the annotated classes of the same names; labels + 1 where the dataset names no classes.

    Raises BadDataset where no class of the detections is annotated.
    """
    known = getattr(dataset, "annotations", None)
    names = dataset.classes or detections.classes or tuple(map(str, range(1 + int(detections.labels.max(initial=-1)))))
    categories = known["categories"] if known else [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    return _rows(image_id, detections, _categories_of(detections.classes, categories))


def evaluate_results(
    annotations: str | Path, results: str | Path, iou_type: str = "bbox", *, backend: str = "auto"
) -> CocoResult:
    """Score a COCO results file against an instances file, over all images of the latter.

    Args:
        annotations: instances json.
        results: results json: a list of records with image_id, category_id, score and bbox or segmentation (RLE).
        iou_type: `bbox`, `segm`, or `proposal`, `lvis`, `lvis-segm`, whose figures are in the result's `also`.
        backend: see `CocoEvaluator`.

    Raises:
        MissingFile: a file does not exist.
        BadDataset: a file is malformed, or the results are of other images or categories than the annotations.
    """
    truth, (metric,) = read_annotations(Path(annotations)), check_metrics([iou_type])
    images = {image["id"] for image in truth["images"]}
    known = {c["id"] for c in truth["categories"]} | ({1} if metric == "proposal" else set())
    rows = read_results(Path(results), images, known, _shape_of(metric))
    library = choose_backend(backend)
    if metric == "proposal":
        figures = recalls(truth, rows, sorted(images), library)
        return replace(score(truth, [], "bbox", [], library), also={metric: figures}, detections=len(rows))
    if metric.startswith("lvis"):
        figures = lvis_figures(truth, rows, _shape_of(metric), sorted(images), library)
        empty = score(truth, [], "bbox", [], library)
        return replace(empty, also={metric: figures}, images=len(images), detections=len(rows))
    return score(truth, rows, metric, sorted(images), library)


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The names. Raises UnknownName for one that is not of `METRICS`."""
    for name in names:
        if name not in METRICS:
            raise UnknownName(
                f"metric {name!r} is unknown", help=nearest(name, METRICS) or "one of " + ", ".join(METRICS)
            )
    return tuple(names)


def annotations_of(samples: Iterable[Sample], classes: tuple[str, ...]) -> Json:
    """A COCO instances object of samples: category ids are labels + 1, areas those of masks, or else of boxes."""
    images: list[Json] = []
    notes: list[Json] = []
    for sample in samples:
        images.append({"id": sample.id, "height": sample.size[0], "width": sample.size[1], "file_name": ""})
        notes.extend(note | {"image_id": sample.id} for note in _notes(sample.truth, sample.size))
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(classes)]
    return {
        "images": images,
        "annotations": [note | {"id": number} for number, note in enumerate(notes, 1)],
        "categories": categories,
    }


def truth_of(dataset: Dataset, samples: Iterable[Sample]) -> Json:
    """The instances object of a dataset: that of its annotation file where it has one, else of its samples."""
    known = getattr(dataset, "annotations", None)
    return dict(known) if known is not None else annotations_of(samples, dataset.classes)


_RESULT_HELP = "bbox is [x, y, width, height] in pixels; segmentation is run-length coded: {size: [h, w], counts: ...}"


# --- inside -----------------------------------------------------------------------------------------------------------


def _categories_of(classes: tuple[str, ...], categories: list[Json]) -> list[int | None]:
    """Category id of each label; None for a class without annotations."""
    annotated = tuple(str(c["name"]) for c in categories)
    if not classes or classes == annotated:
        return [c["id"] for c in categories]
    by_name = {name: c["id"] for name, c in zip(annotated, categories, strict=True)}
    ids = [by_name.get(name) for name in classes]
    if by_name and not any(i is not None for i in ids):
        raise BadDataset(
            f"the detections' classes {_some(classes)} are not among the annotated {_some(annotated)}",
            help="evaluate on a dataset of the detector's classes",
        )
    return ids


def _rows(image_id: int, detections: Detections, to_category: list[int | None]) -> list[Json]:
    corners = np.asarray(detections.boxes, np.float64).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    rows = zip(boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    shapes: list[Json] = [{"segmentation": s} for s in detections.segmentations()] or [{}] * len(detections)
    return [
        {"image_id": image_id, "category_id": to_category[label], "bbox": box, "score": score} | shape
        for (box, score, label), shape in zip(rows, shapes, strict=True)
        if to_category[label] is not None
    ]


def _shape_of(metric: str) -> str:
    """What a measure compares: `segm` or `bbox`."""
    return "segm" if metric.endswith("segm") else "bbox"


def _annotations_of(truth: Dataset | Mapping[str, Any] | str | Path) -> Json:
    if isinstance(truth, str | Path):
        return read_annotations(Path(truth))
    content = truth if isinstance(truth, Mapping) else getattr(truth, "annotations", None)
    if content is None:
        assert isinstance(truth, Dataset), "the remaining case of the signature"
        return annotations_of([], truth.classes)
    check_annotations(content)
    return dict(content)


def _notes(truth: Truth, size: tuple[int, int]) -> Iterator[Json]:
    corners = np.asarray(truth.boxes, np.float64).reshape(-1, 4)
    rows = zip(corners.tolist(), truth.labels.tolist(), truth.crowd.tolist(), strict=True)
    for number, ((x1, y1, x2, y2), label, crowd) in enumerate(rows):
        note: Json = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": label + 1, "iscrowd": int(crowd)}
        if truth.masks is None:
            yield note | {"area": (x2 - x1) * (y2 - y1)}
        else:
            yield note | _segmentation(bitmap(truth.masks[number], size))


def _segmentation(drawn: Array) -> Json:
    from pycocotools import mask

    return {"segmentation": mask.encode(np.asfortranarray(drawn)), "area": int(drawn.sum(dtype=np.int64))}


def read_results(file: Path, images: set[int], categories: set[int], iou_type: str) -> list[Json]:
    """The rows of a COCO results file, checked.

    Raises:
        MissingFile: the file does not exist.
        BadDataset: it is malformed, or of other images or categories; the message names the row.
    """
    rows = read_json(file, "results file")
    if not isinstance(rows, list):
        raise BadDataset(f"{file}: expected a list of results")
    shape, check = ("segmentation", _is_mask) if iou_type == "segm" else ("bbox", _is_box)
    for number, row in enumerate(rows):
        missing = [k for k in ("image_id", "category_id", "score", shape) if not isinstance(row, dict) or k not in row]
        if missing:
            raise BadDataset(f"{file}: result number {number} has no {missing[0]!r}")
        if row["image_id"] not in images:
            raise BadDataset(f"{file}: result number {number} is of image {row['image_id']!r}, not in the annotations")
        if row["category_id"] not in categories:
            raise BadDataset(f"{file}: result number {number} is of unknown category {row['category_id']!r}")
        if not check(row[shape]):
            raise BadDataset(f"{file}: result number {number} has an unusable {shape}", help=_RESULT_HELP)
    return rows


def _is_box(box: object) -> bool:
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
    return numbers and bool(np.isfinite(np.array(box, np.float64)).all())


def _is_mask(mask: object) -> bool:
    return isinstance(mask, dict) and "counts" in mask and "size" in mask


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
