"""Truth and detections of a dataset by image, from a COCO results file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from graphdet.data.dataset import Dataset, Sample
from graphdet.errors import BadDataset
from graphdet.eval.coco import read_results
from graphdet.eval.voc import evaluate_voc
from graphdet.records import Detections


def read_pairs(dataset: Dataset, file: str | Path) -> list[tuple[Sample, Detections]]:
    """Every image of the dataset with what the results file holds for it, best first.

    Category ids are those of the dataset's annotation file, where it has one, else labels + 1.

    Raises:
        MissingFile, BadDataset: the file cannot be read, or is of other images or categories.
    """
    annotations = getattr(dataset, "annotations", None)
    ids = [c["id"] for c in annotations["categories"]] if annotations else range(1, len(dataset.classes) + 1)
    label = {category: i for i, category in enumerate(ids)}
    samples = [dataset.sample(i) for i in range(len(dataset))]
    if len({s.id for s in samples}) < len(samples):
        raise BadDataset("two images of the dataset have one id")
    of_image: dict[int, list[tuple[list[float], float, int]]] = {s.id: [] for s in samples}
    for row in read_results(Path(file), set(of_image), set(label), "bbox"):
        x, y, width, height = row["bbox"]
        of_image[row["image_id"]].append(([x, y, x + width, y + height], row["score"], label[row["category_id"]]))
    pairs = []
    for sample in samples:
        rows = sorted(of_image[sample.id], key=lambda row: -row[1])
        boxes = np.array([r[0] for r in rows], np.float32).reshape(-1, 4)
        scores, labels = np.array([r[1] for r in rows], np.float32), np.array([r[2] for r in rows], np.int64)
        pairs.append((sample, Detections(boxes, scores, labels, dataset.classes, sample.size)))
    return pairs


def image_scores(pairs: list[tuple[Sample, Detections]], classes: tuple[str, ...], overlap: float) -> list[float]:
    """Mean average precision of each image alone; -1 where it shows no objects that count."""
    return [evaluate_voc([(s.truth, d)], classes, overlap=overlap).mean for s, d in pairs]
