"""Read a dataset in COCO's detection format (an `instances_*.json` file and a folder of images)."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.errors import BadDataset, MissingFile
from graphdet.records import Mask, Truth

Record = Mapping[str, Any]


class CocoDetection:
    """Images, boxes and, where annotated, masks of a COCO instances file.

    Labels follow the order of the file's `categories`; images keep the file's order. Image files are not touched until
    a sample's pixels are read. Boxes without area (width or height 0) cannot be detected: they stay in `annotations`,
    which evaluators use, but are left out of every `Truth`, and their annotation ids are listed in `degenerate`.

    Args:
        image_dir: folder that the `file_name` entries are relative to.
        annotation_file: the json file.

    Raises:
        MissingFile: the folder or the json file does not exist.
        BadDataset: the json does not hold a usable dataset; the message names the file and the record.
    """

    def __init__(self, image_dir: str | Path, annotation_file: str | Path) -> None:
        self.image_dir, self.file = Path(image_dir), Path(annotation_file)
        if not self.image_dir.is_dir():
            raise MissingFile(f"image folder {str(image_dir)!r} does not exist")
        self.annotations = read_annotations(self.file)
        self.classes: tuple[str, ...] = tuple(str(c["name"]) for c in self.annotations["categories"])
        self.degenerate: list[int] = []
        self._images: list[Record] = self.annotations["images"]
        self._label = {c["id"]: label for label, c in enumerate(self.annotations["categories"])}
        self._objects: dict[int, list[Record]] = {image["id"]: [] for image in self._images}
        self._masked = any(note.get("segmentation") for note in self.annotations["annotations"])
        for note in self.annotations["annotations"]:
            if note["bbox"][2] > 0 and note["bbox"][3] > 0:
                self._objects[note["image_id"]].append(note)
            else:
                self.degenerate.append(note["id"])

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def sample(self, index: int) -> Sample:
        """The image at `index` of the file's list, with its boxes as xyxy pixels."""
        image = self._images[index]
        size = (int(image["height"]), int(image["width"]))
        return Sample(
            self.image_dir / image["file_name"], image["id"], size, self._truth(self._objects[image["id"]], size)
        )

    def _truth(self, objects: list[Record], size: tuple[int, int]) -> Truth:
        boxes = np.array([o["bbox"] for o in objects], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([self._label[o["category_id"]] for o in objects], np.int64)
        crowd = np.array([bool(o.get("iscrowd", 0)) for o in objects], np.bool_)
        masks = tuple(_mask(o.get("segmentation"), size) for o in objects) if self._masked else None
        return Truth(boxes.astype(np.float32), labels, crowd, masks)


def _mask(segmentation: Any, size: tuple[int, int]) -> Mask:
    """What an annotation says of its shape: polygons, or run lengths, compressed or not; nothing is no pixel."""
    if not isinstance(segmentation, Mapping):
        return tuple(np.asarray(part, np.float32).reshape(-1, 2) for part in segmentation or ())
    from pycocotools import mask

    plain = isinstance(segmentation["counts"], list)
    return np.asarray(mask.decode(mask.frPyObjects(segmentation, *size) if plain else segmentation), np.uint8)


def read_annotations(file: Path) -> dict[str, Any]:
    """Read and check an instances file.

    Returns:
        The json object, with every record the format requires present and consistent.

    Raises:
        MissingFile: the file does not exist.
        BadDataset: it is not json, a key is missing, ids collide or dangle, or a box is not four finite numbers x, y,
            width, height with non-negative width and height.
    """
    content = read_json(file)
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        content["images"] = [_named(image) for image in content["images"]]
    check_annotations(content, str(file))
    return dict(content)


def _named(image: Any) -> Any:
    """An image record of LVIS v1, which names no file but an address: its last folder and name (`val2017/1.jpg`)."""
    if not isinstance(image, dict) or "file_name" in image or not isinstance(image.get("coco_url"), str):
        return image
    return image | {"file_name": "/".join(image["coco_url"].split("/")[-2:])}


def read_json(file: Path, what: str = "annotation file") -> Any:
    """The content of a json file. Raises MissingFile where there is none, BadDataset where it is not json."""
    if not file.is_file():
        raise MissingFile(f"{what} {str(file)!r} does not exist")
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:  # covers malformed json and bytes that are not unicode
        raise BadDataset(f"{file}: not a json file ({error})") from error


def check_annotations(content: object, file: str = "annotations") -> None:
    """Raise BadDataset, naming `file` and the record, when `content` is not a usable COCO instances object."""
    check_lists(content, ("images", "annotations", "categories"), file)
    assert isinstance(content, Mapping)
    categories = check_ids(file, "category", content["categories"], ("id", "name"))
    images = check_images(content["images"], file)
    check_ids(file, "annotation", content["annotations"], ("id", "image_id", "category_id", "bbox"))
    for note in content["annotations"]:
        _check_note(file, note, images, categories)


def check_lists(content: object, keys: tuple[str, ...], file: str) -> None:
    """Raise BadDataset, naming `file`, unless `content` is an object with a list under each of `keys`."""
    if not isinstance(content, Mapping):
        raise BadDataset(
            f"{file}: a json {_kind(content)}, expected an object with {', '.join(keys)}",
            help="results files are lists; give the ground truth file here" if isinstance(content, list) else "",
        )
    for key in keys:
        if key not in content:
            raise BadDataset(f"{file}: key {key!r} is missing, found {', '.join(map(repr, content)) or 'nothing'}")
        if not isinstance(content[key], list):
            raise BadDataset(f"{file}: {key!r} is a json {_kind(content[key])}, expected a list")


def check_images(images: list[Any], file: str) -> set[int]:
    """The ids of image records. Raises BadDataset, naming `file` and the record, for one without a usable size."""
    ids = check_ids(file, "image", images, ("id", "file_name", "height", "width"))
    for image in images:
        _check_size(file, image)
    return ids


def check_ids(file: str, what: str, records: Iterable[object], keys: tuple[str, ...]) -> set[int]:
    """The ids of a list of records, each of which must hold `keys` and an id of its own."""
    seen: set[int] = set()
    for position, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise BadDataset(f"{file}: {what} number {position} is a json {_kind(record)}, expected an object")
        name = f"{what} {record['id']!r}" if "id" in record else f"{what} number {position}"
        for key in keys:
            if key not in record:
                raise BadDataset(f"{file}: {name} has no {key!r}")
        if not isinstance(record["id"], int) or isinstance(record["id"], bool):
            raise BadDataset(f"{file}: {what} number {position} has id {record['id']!r}, expected an integer")
        if record["id"] in seen:
            raise BadDataset(f"{file}: {name} occurs more than once")
        seen.add(record["id"])
    return seen


def _check_size(file: str, image: Record) -> None:
    for key in ("height", "width"):
        if not _finite(image[key]) or image[key] < 1:
            raise BadDataset(f"{file}: image {image['id']} has {key} {image[key]!r}, expected at least one pixel")
    if not isinstance(image["file_name"], str):
        raise BadDataset(f"{file}: image {image['id']} has file_name {image['file_name']!r}, expected a string")


def _check_note(file: str, note: Record, images: set[int], categories: set[int]) -> None:
    for key, known, what in (("image_id", images, "image"), ("category_id", categories, "category")):
        if not isinstance(note[key], int) or note[key] not in known:
            raise BadDataset(
                f"{file}: annotation {note['id']} is of {what} {note[key]!r}, which the file does not list"
            )
    box = note["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_finite, box)):
        raise BadDataset(f"{file}: annotation {note['id']} has bbox {box!r}, expected four finite numbers")
    if box[2] < 0 or box[3] < 0:
        raise BadDataset(
            f"{file}: annotation {note['id']} has bbox {box!r} with a negative width or height",
            help="COCO boxes are [x, y, width, height], not two corners",
        )


def _finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _kind(value: object) -> str:
    return {list: "list", dict: "object", str: "string", type(None): "null", bool: "boolean"}.get(type(value), "number")
