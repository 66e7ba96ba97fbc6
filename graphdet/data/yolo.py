"""Read images with YOLO's text files, and images without annotations."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from graphdet.data.dataset import Sample, read_image
from graphdet.errors import BadDataset, MissingFile
from graphdet.records import Array, Truth

_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class ImageFolder:
    """The images of a folder and its subfolders, by name, without annotations and classes.

    Raises MissingFile where the folder does not exist.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise MissingFile(f"image folder {str(folder)!r} does not exist")
        self.files = sorted(f for f in self.folder.rglob("*") if f.suffix.lower() in _ENDINGS)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def sample(self, index: int) -> Sample:
        """The image at a position, numbered from 1, decoded for its size."""
        return self._sample(index, np.zeros((0, 5)))

    def _sample(self, index: int, rows: Array) -> Sample:
        image = read_image(self.files[index])
        height, width = int(image.shape[0]), int(image.shape[1])
        middle, extent = rows[:, 1:3], rows[:, 3:5]
        boxes = np.concatenate([middle - extent / 2, middle + extent / 2], 1) * (width, height, width, height)
        labels, crowd = rows[:, 0].astype(np.int64), np.zeros(len(rows), np.bool_)
        return Sample(image, index + 1, (height, width), Truth(boxes.astype(np.float32), labels, crowd))


class Yolo(ImageFolder):
    """Images with a text file each: lines `class x y width height`, the box's centre and extent as image shares.

    The text file of `.../images/a/b.jpg` is `.../labels/a/b.txt`; an image without one shows no objects. A line with
    more numbers is an outline, `class x1 y1 x2 y2 ...`, whose box is taken.

    Args:
        folder: the images.
        names: text file with a class name a line.

    Raises:
        MissingFile: the folder or the file of names does not exist.
        BadDataset: a line cannot be used; the message names file and line.
    """

    def __init__(self, folder: str | Path, names: str | Path) -> None:
        super().__init__(folder)
        file = Path(names)
        if not file.is_file():
            raise MissingFile(f"the file of class names {str(names)!r} does not exist")
        self.classes = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
        self._rows = [self._read(_labels(image)) for image in self.files]

    def sample(self, index: int) -> Sample:
        """The image at a position, numbered from 1."""
        return self._sample(index, self._rows[index])

    def _read(self, file: Path) -> Array:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        rows = [self._row(f"{file}:{i}", line.split()) for i, line in enumerate(lines, 1) if line.strip()]
        return np.array([r for r in rows if r[3] > 0 and r[4] > 0], np.float64).reshape(-1, 5)

    def _row(self, where: str, words: list[str]) -> list[float]:
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            raise BadDataset(f"{where}: {' '.join(words)[:60]!r} is not a line of numbers") from None
        if len(numbers) < 5 or not all(map(math.isfinite, numbers)):
            raise BadDataset(f"{where}: expected five finite numbers, class x y width height, found {len(numbers)}")
        if numbers[0] not in range(len(self.classes)):
            raise BadDataset(f"{where}: class {words[0]}, but there are {len(self.classes)} names (from 0)")
        if not all(-0.01 <= v <= 1.01 for v in numbers[1:]):
            raise BadDataset(f"{where}: positions are shares of the image, 0 to 1; found {' '.join(words[1:5])}")
        if len(numbers) > 5:
            xs, ys = numbers[1::2], numbers[2::2]
            box = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)
            return [numbers[0], *box]
        return numbers


def _labels(image: Path) -> Path:
    """The text file of an image: the last folder named `images` on its way becomes `labels`."""
    parts = list(image.with_suffix(".txt").parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            return Path(*parts)
    return image.with_suffix(".txt")
