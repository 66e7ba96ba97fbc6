"""Images of any size -> network input: scale, normalise, place at the top left, pad.

Training, evaluation and certificates call what the engine does inside (csrc/engine/preprocess.h), so that one image
gives one set of pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from graphdet.errors import BadImage, BadInput, MissingFile, UnknownName, nearest
from graphdet.records import Array, Preprocess
from graphdet.runtime.header import Bounds
from graphdet.runtime.kernels import kernels

Image = Any  # a path, a uint8 array, or anything with `__dlpack__` on the CPU
Size = tuple[int, int]

_DTYPES = ("float32", "bfloat16")
_ACCEPTED = "give a path, or a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"


@dataclass(frozen=True)
class Prepared:
    """A batch of network inputs.

    pixels: f32[N 3 H W] or bf16, normalised · size: f32[N 2], (height, width) of each image in net pixels, without
    padding · geometry: f32[N 4], (scale_x, scale_y, offset_x, offset_y) with net = image * scale + offset ·
    shapes: (height, width) of each original image.
    """

    pixels: Array
    size: Array
    geometry: Array
    shapes: tuple[Size, ...]


def prepare(
    images: Sequence[Image],
    spec: Preprocess,
    *,
    size: Size | Bounds | None = None,
    order: str = "bgr",
    first: int = 0,
    dtype: str = "float32",
) -> Prepared:
    """Read, scale, normalise and pad images into one batch.

    Images are scaled as `cv2.resize` does it (bilinear, uint8) to the size that `fitted` gives; an image that has that
    size already is not altered. With `size`, every batch is padded to that (height, width); without, to the largest
    image of the batch, rounded up to a multiple of `spec.divisor`, and with bounds to the least at least. No image is a
    batch of 0.

    Args:
        images: paths, or uint8 arrays [H, W], [H, W, 1], [H, W, 3], [H, W, 4] (alpha is dropped), strided as they come.
            The orientation tag of photos (EXIF) is ignored, as annotations of data sets refer to the pixels as stored.
        spec: the detector's rule.
        size: fixed (height, width) of the network input, or the bounds within which it is.
        order: channel order of the arrays, `bgr` or `rgb`; files know their own.
        first: number of the first image, for error messages.
        dtype: `float32` or `bfloat16` of the pixels. They are computed in float32; as bfloat16, NumPy's by `ml_dtypes`,
            each is the nearest number, of two the even one. Without a copy in PyTorch:
            `torch.from_numpy(pixels.view(np.int16)).view(torch.bfloat16)`.

    Raises:
        MissingFile: an image file does not exist.
        BadImage: an image cannot be decoded or used; the message gives its number and, if any, its file.
        UnknownName: `order` is neither `bgr` nor `rgb`, or `dtype` neither `float32` nor `bfloat16`.
        BackendMissing: the kernel extension is not installed.
    """
    if dtype not in _DTYPES:
        raise UnknownName(f"dtype {dtype!r}, expected {' or '.join(_DTYPES)}", help=nearest(dtype, _DTYPES))
    loaded = pictures(images, order=order, first=first)
    pixels, sizes, geometry = kernels().prepare(loaded, spec, _ends(size), dtype == "bfloat16")
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16

        pixels = pixels.view(bfloat16)
    return Prepared(pixels, sizes, geometry, tuple((image.shape[0], image.shape[1]) for image, _ in loaded))


def fitted(shape: Size, spec: Preprocess, size: Size | Bounds | None = None) -> Size:
    """(height, width) to which an image of `shape` is scaled, at least 1 x 1.

    letterbox: the largest that fits inside `size`, or inside `spec.size` where `size` is None, rounded down (the rule
    of the YOLOX authors). short_side: the longer side at most the larger number of `spec.size` and the shorter side at
    most the smaller one, whatever the orientation, rounded to nearest (mmdet's rule); with `size` also inside that.
    stretch: `size` itself, or `spec.size`. Of bounds, letterbox and stretch take the size nearest to `spec.size`,
    short_side the most.
    """
    found: Size = kernels().fitted(shape, spec, _ends(size))
    return found


def _ends(size: Size | Bounds | None) -> tuple[Size, Size] | None:
    """The least and the most size."""
    if size is None:
        return None
    return (size.least, size.most) if isinstance(size, Bounds) else (size, size)


def pictures(images: Sequence[Image], *, order: str = "bgr", first: int = 0) -> list[tuple[Array, bool]]:
    """Open images without copying arrays: (u8[H W] or u8[H W C] as it lies, whether its colours stand as RGB).

    Arguments and errors are those of `prepare`.
    """
    if order not in ("bgr", "rgb"):
        raise UnknownName(f"channel order {order!r}, expected 'bgr' or 'rgb'", help=nearest(order, ("bgr", "rgb")))
    return [
        (_decode(Path(image), first + i), False)
        if isinstance(image, (str, Path))
        else (_checked(image, first + i), order == "rgb")
        for i, image in enumerate(images)
    ]


def load_image(image: Image, *, order: str = "bgr") -> Array:
    """Read one image as dense uint8 [H, W, 3], BGR. See `prepare` for what is accepted and raised."""
    ((array, rgb),) = pictures([image], order=order)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array[..., 2::-1] if rgb else array[..., :3])


def is_image(value: object) -> bool:
    """Whether a value is one image, and not a list of them."""
    return isinstance(value, (str, Path)) or hasattr(value, "__dlpack__")


def from_dlpack(value: Any) -> Array:
    """An array, or a tensor of another library as an array on the same memory.

    Raises BadInput for what lies on another device, and for anything else.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        return np.from_dlpack(value)
    except Exception as error:  # each library has its own
        raise BadInput(
            f"a {type(value).__name__} cannot be read as an array: {error}", help="give an array or a tensor on the CPU"
        ) from error


def _checked(image: Any, number: int) -> Array:
    if not hasattr(image, "__dlpack__"):
        raise BadImage(f"image {number} is of type {type(image).__name__}", help=_ACCEPTED)
    try:
        image = from_dlpack(image)
    except BadInput as error:
        raise BadImage(f"image {number}: {error.message}", help=error.help) from error
    if image.dtype != np.uint8:
        raise BadImage(
            f"image {number} has dtype {image.dtype}, expected uint8",
            help="scale values to 0..255 and convert with .astype(np.uint8); the engine normalises by itself",
        )
    shape = "x".join(map(str, image.shape))
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        raise BadImage(
            f"image {number} has shape {shape}, expected HxW, HxWx1, HxWx3 or HxWx4", help=_shape_help(image)
        )
    if image.size == 0:
        raise BadImage(f"image {number} is empty: shape {shape}", help=_ACCEPTED)
    return cast(Array, image)


def _shape_help(image: Array) -> str:
    if image.ndim == 4:
        return "pass a list of images, one array each: list(batch)"
    if image.ndim == 3 and image.shape[0] in (1, 3, 4):
        return "channels come last: image.transpose(1, 2, 0)"
    return _ACCEPTED


def _decode(path: Path, number: int) -> Array:
    import cv2

    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise MissingFile(f"image {number}: no such file: {path}", help="check the path") from error
    except OSError as error:
        raise BadImage(f"image {number}: cannot read {path}: {error.strerror}", help=_ACCEPTED) from error
    # Decoding from memory rather than cv2.imread: file names of every alphabet work on every system.
    image: Array | None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except cv2.error as error:
        raise BadImage(f"image {number}: cannot decode {path}: {error.err}", help=_ACCEPTED) from error
    if image is None:
        raise BadImage(
            f"image {number}: {path} is not an image that OpenCV can decode ({data.size} bytes)", help=_ACCEPTED
        )
    return image
