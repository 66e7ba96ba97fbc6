"""What a detection dataset is: a length, class names, and samples by position."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from graphdet.errors import BadImage
from graphdet.records import Array, Truth


@dataclass(frozen=True)
class Sample:
    """One image with its annotated objects; the pixels of a file are read only when asked for.

    image: path of an image file, or u8[H W 3] BGR pixels · id: the image's number in the dataset's annotations ·
    size: (height, width) in pixels · truth: objects, boxes in pixels of this image · semantic: u8[H W], the class of
    every pixel, 255 where unknown; None where nothing is known · proposals: f32[K 4], boxes that something else found,
    best first, in pixels of this image, for a detector that is given them; None where nothing looked for any.
    """

    image: Path | Array
    id: int
    size: tuple[int, int]
    truth: Truth
    semantic: Array | None = None
    proposals: Array | None = None

    def pixels(self) -> Array:
        """The image as u8[H W 3] BGR.

        Raises:
            BadImage: the file is missing or cannot be decoded.
        """
        return read_image(self.image) if isinstance(self.image, Path) else self.image


@runtime_checkable
class Dataset(Protocol):
    """Images with boxes. Positions run from 0 to `len(dataset) - 1`; labels index `classes`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; the label of a box is the position here."""

    def __len__(self) -> int:
        """Number of images."""

    def sample(self, index: int) -> Sample:
        """The image at a position. The same position always gives the same sample."""


def read_image(path: Path) -> Array:
    """Decode an image file to u8[H W 3] BGR, as stored: annotations do not heed the orientation flag of a file.

    Raises:
        BadImage: the file is missing or cannot be decoded.
    """
    import cv2
    import numpy as np

    if not path.is_file():
        raise BadImage(f"image file {str(path)!r} does not exist", help="check the image folder of the dataset")
    data = np.fromfile(path, dtype=np.uint8)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise BadImage(f"image file {str(path)!r} cannot be decoded", help="is it complete, and a picture?")
    return image
