"""LVIS's average precision: classes are annotated on some images only (Gupta et al. 2019, arXiv:1908.03195, sec. 2).

A class counts on an image where it is annotated or known to be absent (`neg_category_ids`); detections of any other are
left out. Where not all objects of a class are annotated (`not_exhaustive_category_ids`), a detection that matches none
is left out too. At most 300 detections an image, whatever their class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from graphdet.errors import BadDataset
from graphdet.eval.score import Json, evaluated
from graphdet.records import Array

MOST = 300
FREQUENCIES = ("r", "c", "f")  # rare: on up to 10 images of the training set · common: up to 100 · frequent
_FAR = 1e6


def lvis_figures(
    truth: Json, rows: Sequence[Json], iou_type: str, image_ids: list[int], backend: str
) -> dict[str, float]:
    """AP, AP50, AP75; APs, APm, APl by size; APr, APc, APf by frequency; AR, ARs, ARm, ARl with all 300 detections.

    iou_type: `bbox` or `segm`. A figure is -1 where nothing of that kind was annotated.

    Raises BadDataset for annotations that are not LVIS's.
    """
    images = {image["id"]: image for image in truth["images"]}
    lacking = [
        k for k in ("neg_category_ids", "not_exhaustive_category_ids") if any(k not in i for i in images.values())
    ]
    if lacking:
        raise BadDataset(
            f"the images of these annotations have no {lacking[0]!r}", help="lvis needs LVIS's annotations"
        )
    kept, regions = _counted(truth, rows, images), _open_regions(images, iou_type)
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR", "ARs", "ARm", "ARl"]
    if not image_ids or not truth["categories"]:
        return dict.fromkeys(names, -1.0)
    widened = truth | {"annotations": [*truth["annotations"], *regions]}
    found = evaluated(widened, kept, iou_type, image_ids, backend, most=MOST).eval
    precision = np.asarray(found["precision"])[..., -1]  # [IoU, recall, class, size]
    recall = np.asarray(found["recall"])[..., -1]  # [IoU, class, size]
    ordered = sorted(truth["categories"], key=lambda c: int(c["id"]))  # the libraries' order
    groups = [np.array([c.get("frequency") == f for c in ordered], bool) for f in FREQUENCIES]
    parts = [precision[..., 0], precision[0, :, :, 0], precision[5, :, :, 0]]
    parts += [precision[..., size] for size in (1, 2, 3)] + [precision[:, :, group, 0] for group in groups]
    parts += [recall[..., size] for size in range(4)]
    return dict(zip(names, map(_mean, parts), strict=True))


def _counted(truth: Json, rows: Sequence[Json], images: dict[int, Json]) -> list[Json]:
    """The best detections of each image, of them those whose class was looked for on it."""
    looked = {i: set(image["neg_category_ids"]) for i, image in images.items()}
    for note in truth["annotations"]:
        looked[note["image_id"]].add(note["category_id"])
    of_image: dict[int, list[Json]] = defaultdict(list)
    for row in rows:
        of_image[row["image_id"]].append(row)
    best = (row for own in of_image.values() for row in sorted(own, key=lambda r: -float(r["score"]))[:MOST])
    return [row for row in best if row["category_id"] in looked[row["image_id"]]]


def _open_regions(images: dict[int, Json], iou_type: str) -> list[Json]:
    """Regions over whole images where detections of a class that match no object do not count."""
    return [
        {"image_id": i, "category_id": c, "bbox": [-_FAR, -_FAR, 2 * _FAR, 2 * _FAR], "iscrowd": 1, "ignore": 1}
        | ({"segmentation": _whole(image)} if iou_type == "segm" else {})
        for i, image in images.items()
        for c in image["not_exhaustive_category_ids"]
    ]


def _whole(image: Json) -> Json:
    from pycocotools import mask

    pixels: Json = mask.encode(np.ones((image["height"], image["width"]), np.uint8, order="F"))
    return pixels


def _mean(values: Array) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0
