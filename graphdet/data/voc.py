"""Read a dataset in Pascal VOC's format: an XML file an image, lists of names, a folder of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.errors import BadDataset, MissingFile
from graphdet.records import Truth

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


class Voc:
    """Images and boxes of a VOC folder (`Annotations`, `JPEGImages`, `ImageSets/Main/<split>.txt`).

    VOC counts pixels from 1 and includes the last one: a box `xmin ymin xmax ymax` becomes (xmin - 1, ymin - 1, xmax,
    ymax). Objects marked `difficult` are crowds: neither learnt nor counted. Boxes without area are left out of every
    `Truth` and listed in `degenerate`, as (file, number of the object).

    Args:
        folder: the folder with these three.
        split: name of a list in `ImageSets/Main`, without `.txt`; empty for every file in `Annotations`.
        classes: names in the order of labels; by default VOC's twenty where the files name no others, else all that
            the files of the folder name, sorted.
        from_zero: the files count pixels from 0 and exclude the last one.

    Raises:
        MissingFile: the folder, the list or an annotation file does not exist.
        BadDataset: a file is malformed; the message names it and the object.
    """

    def __init__(
        self, folder: str | Path, split: str = "", *, classes: Sequence[str] = (), from_zero: bool = False
    ) -> None:
        self.folder, self.split, self.from_zero = Path(folder), split, from_zero
        annotations = self.folder / "Annotations"
        if not annotations.is_dir():
            raise MissingFile(
                f"{str(folder)!r} holds no folder Annotations", help="give the folder of VOC2007 or alike"
            )
        self.degenerate: list[tuple[str, int]] = []
        self._names = self._listed(annotations)
        self._records = [_Record.read(annotations / f"{name}.xml", from_zero) for name in self._names]
        found = {o[0] for r in self._records for o in r.objects}
        known = VOC_CLASSES if found <= set(VOC_CLASSES) else tuple(sorted(found | _all_names(annotations, found)))
        self.classes: tuple[str, ...] = tuple(classes) or known
        for record in self._records:
            self.degenerate += [(str(record.file), i) for i, o in enumerate(record.objects) if not o[3]]

    def __len__(self) -> int:
        """Number of images."""
        return len(self._records)

    def sample(self, index: int) -> Sample:
        """The image at `index` of the list, numbered from 1, with the boxes of known classes."""
        record = self._records[index]
        objects = [o for o in record.objects if o[3] and o[0] in self.classes]
        boxes = np.array([o[1] for o in objects], np.float32).reshape(-1, 4)
        labels = np.array([self.classes.index(o[0]) for o in objects], np.int64)
        truth = Truth(boxes, labels, np.array([o[2] for o in objects], np.bool_))
        return Sample(self._image(record), index + 1, record.size, truth)

    def _image(self, record: _Record) -> Path:
        images = self.folder / "JPEGImages"
        names = [record.image, *(record.file.stem + ending for ending in _ENDINGS)]
        return next((images / n for n in names if n and (images / n).is_file()), images / f"{record.file.stem}.jpg")

    def _listed(self, annotations: Path) -> list[str]:
        if not self.split:
            return sorted(f.stem for f in annotations.glob("*.xml"))
        file = self.folder / "ImageSets" / "Main" / f"{self.split}.txt"
        if not file.is_file():
            known = sorted(f.stem for f in file.parent.glob("*.txt"))
            raise MissingFile(
                f"there is no list {str(file)!r}", help=f"known: {', '.join(known[:12])}" if known else ""
            )
        return [line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


Object = tuple[str, list[float], bool, bool]  # class, xyxy box, difficult, whether the box has an area


class _Record:
    def __init__(self, file: Path, image: str, size: tuple[int, int], objects: list[Object]) -> None:
        self.file, self.image, self.size, self.objects = file, image, size, objects

    @classmethod
    def read(cls, file: Path, from_zero: bool) -> _Record:
        """Parse one annotation file."""
        if not file.is_file():
            raise MissingFile(f"annotation file {str(file)!r} does not exist")
        try:
            root = ElementTree.fromstring(file.read_bytes())
        except ElementTree.ParseError as error:
            raise BadDataset(f"{file}: not an XML file ({error})") from error
        size = tuple(int(_number(file, "size", root, f"size/{k}")) for k in ("height", "width"))
        if min(size) < 1:
            raise BadDataset(f"{file}: size {size[1]} x {size[0]}, expected at least one pixel")
        objects = [_object(file, i, node, 0.0 if from_zero else 1.0) for i, node in enumerate(root.iter("object"))]
        return cls(file, root.findtext("filename", "").strip(), (size[0], size[1]), objects)


def _object(file: Path, number: int, node: ElementTree.Element, first: float) -> Object:
    what = f"object number {number}"
    name = node.findtext("name", "").strip()
    if not name:
        raise BadDataset(f"{file}: {what} has no name")
    x1, y1, x2, y2 = (_number(file, what, node, f"bndbox/{k}") for k in ("xmin", "ymin", "xmax", "ymax"))
    if x2 < x1 or y2 < y1:
        raise BadDataset(f"{file}: {what} ({name}) has xmax < xmin or ymax < ymin: {x1:g} {y1:g} {x2:g} {y2:g}")
    difficult = node.findtext("difficult", "0").strip() not in ("", "0")
    return name, [x1 - first, y1 - first, x2, y2], difficult, x2 > x1 and y2 > y1


def _number(file: Path, what: str, node: ElementTree.Element, path: str) -> float:
    text = node.findtext(path, "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadDataset(f"{file}: {what} has {path} = {text!r}, expected a number")
    return value


def _all_names(annotations: Path, found: set[str]) -> set[str]:
    """Class names of all files of the folder, so that the splits of one folder have the same labels."""
    names: set[str] = set()
    for file in annotations.glob("*.xml"):
        try:
            names |= {
                n.text.strip() for n in ElementTree.fromstring(file.read_bytes()).findall("object/name") if n.text
            }
        except ElementTree.ParseError:  # reported where it is in the list
            continue
    return names
