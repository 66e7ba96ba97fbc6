"""Proposals of a file: boxes that something else found, for a detector that is given them (Fast R-CNN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.data.coco import read_json
from graphdet.data.dataset import Dataset, Sample
from graphdet.errors import BadDataset
from graphdet.records import Array

_HELP = "give COCO results (image_id, bbox, score), or the detections.json of `graphdet run`"


class Proposals:
    """Boxes by image, best first, in pixels of the original image.

    Args:
        file: COCO results, as `graphdet test --save` writes them: rows of image_id, bbox (x, y, width, height), score;
            or the detections.json of `graphdet run`.

    Raises:
        MissingFile: there is no such file.
        BadDataset: it holds something else; the message names the row.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        rows = read_json(self.file, "proposal file")
        if not isinstance(rows, list):
            raise BadDataset(f"{file}: expected a list of results", help=_HELP)
        found: dict[int | str, list[list[float]]] = {}
        for number, row in enumerate(rows):
            try:
                image, boxes = _of_row(row)
                table = np.asarray(boxes, np.float64).reshape(-1, 5)
            except (KeyError, TypeError, ValueError) as error:
                raise BadDataset(f"{file}: result number {number} holds no proposals ({error!r})", help=_HELP) from None
            if not np.isfinite(table).all():
                raise BadDataset(f"{file}: result number {number} holds a number that is not finite")
            found.setdefault(image, []).extend(table.tolist())
        self._rows = found

    def of(self, image: int | Path, most: int | None = None) -> Array:
        """The best boxes of an image by score, f32[K 4] with K up to `most`; none where the file has none.

        image: its number, or its file, which is the one that the file names, or whose name is the number (COCO's
        000000000139.jpg).
        """
        rows = self._rows.get(image if isinstance(image, int) else str(image), [])
        if not rows and isinstance(image, Path) and image.stem.isdecimal():
            rows = self._rows.get(int(image.stem), [])
        table = np.asarray(rows, np.float32).reshape(-1, 5)
        return table[np.argsort(-table[:, 4], kind="stable")][:most, :4]


@dataclass(frozen=True)
class Proposed:
    """A dataset whose samples carry the proposals of a file: those of their number, or else of their image's file."""

    dataset: Dataset
    found: Proposals

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the dataset."""
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int) -> Sample:
        """The image at a position."""
        sample = self.dataset.sample(index)
        boxes = self.found.of(sample.id)
        if not len(boxes) and isinstance(sample.image, Path):
            boxes = self.found.of(sample.image)
        return replace(sample, proposals=boxes)


def required(sample: Sample) -> Array:
    """The proposals of a sample. Raises BadDataset where it carries none."""
    if sample.proposals is None:
        raise BadDataset(
            f"image {sample.id} comes without proposals, and the detector is given them",
            help="write 'coco:IMAGE_DIR:ANNOTATIONS.json with PROPOSALS.json'",
        )
    return sample.proposals


def stacked(boxes: Sequence[Array], most: int) -> tuple[Array, Array]:
    """Up to `most` boxes of each image as f32[N most 4], zeros behind them, and how many there are, i64[N]."""
    count = np.array([min(len(b), most) for b in boxes], np.int64)
    table = np.zeros((len(boxes), most, 4), np.float32)
    for row, some, k in zip(table, boxes, count, strict=True):
        row[:k] = some[:k]
    return table, count


def _of_row(row: Mapping[str, Any]) -> tuple[int | str, list[list[float]]]:
    """The image of a row, and its boxes with their scores."""
    if "image" in row:
        return str(row["image"]), [[*one["box"], one["score"]] for one in row.get("objects", ())]
    x, y, width, height = row["bbox"]
    return int(row["image_id"]), [[x, y, x + width, y + height, row["score"]]]
