"""What is wrong with a dataset, and what is in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphdet.data.dataset import Dataset
from graphdet.errors import GdError


def problems(dataset: Dataset) -> list[str]:
    """A sentence a problem: images that cannot be read or have another size, boxes without area or outside."""
    found = [f"annotation {what} has a box without area; it is left out" for what in getattr(dataset, "degenerate", ())]
    for index in range(len(dataset)):
        try:
            sample = dataset.sample(index)
            pixels = sample.pixels()
        except GdError as error:
            found.append(f"image number {index}: {error.message}")
            continue
        name = f"image {sample.id} ({sample.image if not isinstance(sample.image, np.ndarray) else 'in memory'})"
        if pixels.shape[:2] != sample.size:
            found.append(f"{name} has {pixels.shape[:2]} rows and columns; the annotations say {sample.size}")
        height, width = sample.size
        boxes = sample.truth.boxes
        for box in boxes[(boxes < -1).any(1) | (boxes[:, 2] > width + 1) | (boxes[:, 3] > height + 1)]:
            shown = " ".join(f"{v:g}" for v in box)
            found.append(f"{name}: the box {shown} reaches more than a pixel over its edge ({width} x {height})")
    return found


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Counts of images and objects, sizes, and for each class images, objects, COCO's size groups and median side."""
    truths, sizes = [], []
    for index in range(len(dataset)):
        sample = dataset.sample(index)
        truths.append(sample.truth)
        sizes.append(sample.size)
    rows = []
    for label, name in enumerate(dataset.classes):
        mine = [t.take(t.labels == label) for t in truths]
        boxes = np.concatenate([t.boxes for t in mine]) if mine else np.zeros((0, 4))
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        groups = np.histogram(areas, [0, 32**2, 96**2, np.inf])[0].tolist()
        median = round(float(np.median(np.sqrt(areas))), 1) if len(areas) else None
        crowd = int(sum(t.crowd.sum() for t in mine))
        rows.append(
            {"class": name, "images": sum(len(t) > 0 for t in mine), "objects": len(boxes), "crowd": crowd}
            | dict(zip(("small", "medium", "large"), groups, strict=True))
            | {"median_side": median}
        )
    empty = sum(len(t) == 0 for t in truths)
    shapes = [f"{min(s)} to {max(s)}" if s else "-" for s in ([z[0] for z in sizes], [z[1] for z in sizes])]
    objects = sum(map(len, truths))
    counts = {"images": len(truths), "without_objects": empty, "objects": objects, "classes": len(dataset.classes)}
    return {**counts, "heights": shapes[0], "widths": shapes[1], "per_class": rows}
