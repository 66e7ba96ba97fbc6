"""COCO's panoptic format: a json of segments, and for each image a PNG whose colours are the segments' ids.

The id of a pixel is R + 256 G + 65536 B; 0 is void (Kirillov et al. 2019, arXiv:1801.00868).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.data.coco import check_ids, check_images, check_lists, read_json
from graphdet.data.dataset import Sample, read_image
from graphdet.errors import BadDataset, MissingFile
from graphdet.records import Array, Panoptic, Truth

Record = Mapping[str, Any]
LARGEST = (1 << 24) - 1


class PanopticFile:
    """A panoptic json, of annotations or of results, and the folder of its PNGs.

    Args:
        file: the json.
        folder: where its PNGs are; the json's path without `.json` unless given.
        categories: of a json that has none, as results have.

    Attributes:
        categories: as in the json; a label is a position in it.
        classes: their names.
        things: for each, whether it is of countable things, and not of stuff.
        images: the images that have segments, in the order of the json's `annotations`: id, and height, width and
            file_name where the json lists images.

    Raises:
        MissingFile: the json or the folder does not exist.
        BadDataset: the json is not of this form; the message names the file and the record.
    """

    def __init__(
        self, file: str | Path, folder: str | Path | None = None, categories: list[dict[str, Any]] | None = None
    ) -> None:
        self.file = Path(file)
        self.folder = self.file.with_suffix("") if folder is None else Path(folder)
        content, name = read_json(self.file), str(file)
        check_lists(content, ("annotations",) if categories is not None else ("annotations", "categories"), name)
        self.categories: list[dict[str, Any]] = content["categories"] if categories is None else categories
        if not self.folder.is_dir():
            raise MissingFile(f"folder {str(self.folder)!r}, of the PNGs of {name}, does not exist")
        known = check_ids(name, "category", self.categories, ("id", "name", "isthing"))
        self.classes = tuple(str(c["name"]) for c in self.categories)
        self.things = tuple(bool(c["isthing"]) for c in self.categories)
        self._label = {c["id"]: label for label, c in enumerate(self.categories)}
        self._records = _records(name, content["annotations"], known)
        self.images: list[Record] = [{"id": i} for i in self._records]
        if "images" in content:
            check_lists(content, ("images",), name)
            listed = check_images(content["images"], name)
            for i in self._records.keys() - listed:
                raise BadDataset(f"{name}: annotation of image {i!r}, which the file does not list")
            by_id = {image["id"]: image for image in content["images"]}
            self.images = [by_id[i] for i in self._records]

    def panoptic(self, image_id: int) -> Panoptic:
        """The segments of an image.

        Raises:
            BadDataset: the image is not in the file, or the PNG and the json differ in the ids of segments.
            BadImage: the PNG is missing or cannot be decoded.
        """
        if image_id not in self._records:
            raise BadDataset(f"{self.file}: no segments of image {image_id!r}")
        record = self._records[image_id]
        png = self.folder / record["file_name"]
        colours, segments = read_image(png).astype(np.int32), record["segments_info"]
        drawn = colours[..., 2] + 256 * colours[..., 1] + 65536 * colours[..., 0]
        ids = np.array([s["id"] for s in segments], np.int64)
        for seen, listed, text in (
            (np.unique(drawn[drawn > 0]), ids, "is in the PNG, but not in the json"),
            (ids, drawn, "has no pixel in the PNG"),
        ):
            strange = np.setdiff1d(seen, listed)
            if len(strange):
                raise BadDataset(f"{self.file}: image {image_id}: segment {strange[0]} {text} ({png})")
        labels = np.array([self._label[s["category_id"]] for s in segments], np.int64)
        crowd = np.array([bool(s.get("iscrowd", 0)) for s in segments], np.bool_)
        return Panoptic(drawn, ids, labels, crowd, self.classes)


class CocoPanoptic:
    """A dataset in COCO's panoptic format: every segment, of things and of stuff, is an object with a bitmap.

    Args:
        image_dir: folder that the `file_name` entries of images are relative to.
        annotation_file: the json.
        png_dir: folder of the PNGs; the json's path without `.json` unless given.

    Raises:
        MissingFile: a folder or the json does not exist.
        BadDataset: the json does not hold a usable dataset; the message names the file and the record.
    """

    def __init__(self, image_dir: str | Path, annotation_file: str | Path, png_dir: str | Path | None = None) -> None:
        self.image_dir = Path(image_dir)
        if not self.image_dir.is_dir():
            raise MissingFile(f"image folder {str(image_dir)!r} does not exist")
        self.segments = PanopticFile(annotation_file, png_dir)
        if any("file_name" not in image for image in self.segments.images):
            raise BadDataset(f"{annotation_file}: key 'images' is missing", help="results cannot be used as a dataset")
        self.classes = self.segments.classes

    def __len__(self) -> int:
        """Number of images that have segments."""
        return len(self.segments.images)

    def sample(self, index: int) -> Sample:
        """The image at `index` of the annotations. Raises BadDataset where its PNG is of another size."""
        image = self.segments.images[index]
        size, found = (int(image["height"]), int(image["width"])), self.segments.panoptic(image["id"])
        if found.map.shape != size:
            raise BadDataset(
                f"{self.segments.file}: image {image['id']} is {size[0]}x{size[1]} pixels, but its PNG is "
                f"{found.map.shape[0]}x{found.map.shape[1]}"
            )
        return Sample(self.image_dir / image["file_name"], image["id"], size, truth_of(found))


def truth_of(panoptic: Panoptic) -> Truth:
    """Segments as objects: a bitmap and the box around it each."""
    masks = tuple((panoptic.map == i).astype(np.uint8) for i in panoptic.ids)
    boxes = np.array([_bounds(mask) for mask in masks], np.float32).reshape(-1, 4)
    return Truth(boxes, panoptic.labels, panoptic.crowd, masks)


def write_panoptic(file: str | Path, found: Iterable[tuple[int, Panoptic]], categories: list[dict[str, Any]]) -> None:
    """Write results: `file`, a json of segments by image id, and beside it a folder of PNGs named as the image ids.

    categories: those of the annotations; a label is a position in them.

    Raises:
        BadDataset: a label is not one of the categories, or an id is not in 1..2^24-1.
    """
    path, rows = Path(file), []
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for image_id, one in found:
        if len(one) and not 0 <= one.labels.min() <= one.labels.max() < len(categories):
            raise BadDataset(f"image {image_id!r} has labels outside the {len(categories)} categories")
        if len(one) and not 0 < one.ids.min() <= one.ids.max() <= LARGEST:
            raise BadDataset(f"image {image_id!r} has segment ids outside 1..{LARGEST}")
        rows.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": _infos(one, categories)})
        _write_png(folder / f"{image_id}.png", one.map)
    path.write_text(json.dumps({"annotations": rows, "categories": categories}), encoding="utf-8")


def _infos(one: Panoptic, categories: list[dict[str, Any]]) -> list[Record]:
    infos: list[Record] = []
    for i, label, crowd in zip(one.ids.tolist(), one.labels.tolist(), one.crowd.tolist(), strict=True):
        mask = one.map == i
        x1, y1, x2, y2 = _bounds(mask)
        infos.append(
            {
                "id": i,
                "category_id": categories[label]["id"],
                "iscrowd": int(crowd),
                "area": int(np.count_nonzero(mask)),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
            }
        )
    return infos


def _write_png(path: Path, ids: Array) -> None:
    import cv2

    colours = np.stack([(ids >> shift) & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)  # B, G, R
    path.write_bytes(cv2.imencode(".png", colours)[1].tobytes())


def _bounds(mask: Array) -> tuple[int, int, int, int]:
    """The box xyxy around the pixels of a mask; all zeros where there are none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _records(file: str, annotations: list[Any], categories: set[int]) -> dict[int, Record]:
    """The records by image id, checked."""
    records: dict[int, Record] = {}
    for position, record in enumerate(annotations):
        for key, kind in (("image_id", int), ("file_name", str), ("segments_info", list)):
            if not isinstance(record, Mapping) or not isinstance(record.get(key), kind):
                raise BadDataset(f"{file}: annotation number {position} has no usable {key!r}")
        image, where = record["image_id"], f"{file}: image {record['image_id']}"
        if image in records:
            raise BadDataset(f"{where} is annotated more than once")
        for i in check_ids(where, "segment", record["segments_info"], ("id", "category_id")):
            if not 0 < i <= LARGEST:
                raise BadDataset(f"{where}: segment id {i} is outside 1..{LARGEST}")
        for segment in record["segments_info"]:
            if segment["category_id"] not in categories:
                raise BadDataset(f"{where}: segment {segment['id']} is of unknown category {segment['category_id']!r}")
        records[image] = record
    return records
