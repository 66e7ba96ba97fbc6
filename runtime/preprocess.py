"""Images of any size -> network input: scale, normalise, place at the top left, pad.

The same functions serve evaluation, certificates and the engine, so that one image gives one set of pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphdet.errors import BadImage, MissingFile, UnknownName, nearest
from graphdet.records import Array, Preprocess
from graphdet.runtime.kernels import kernels

Image = str | Path | Array
Size = tuple[int, int]

_ACCEPTED = "give a path, or a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"


@dataclass(frozen=True)
class Prepared:
    """A batch of network inputs.

    pixels: f32[N 3 H W], normalised · size: f32[N 2], (height, width) of each image in net pixels, without padding ·
    geometry: f32[N 4], (scale_x, scale_y, offset_x, offset_y) with net = image * scale + offset ·
    shapes: (height, width) of each original image.
    """

    pixels: Array
    size: Array
    geometry: Array
    shapes: tuple[Size, ...]


def prepare(
    images: Sequence[Image], spec: Preprocess, *, size: Size | None = None, order: str = "bgr", first: int = 0
) -> Prepared:
    """Read, scale, normalise and pad images into one batch.

    Images are scaled as `cv2.resize` does it (bilinear, uint8) to the size that `fitted` gives; an image that has that
    size already is not altered. With `size`, every batch is padded to that (height, width); without, to the largest
    image of the batch, rounded up to a multiple of `spec.divisor`. No image is a batch of 0.

    Args:
        images: paths, or uint8 arrays [H, W], [H, W, 1], [H, W, 3], [H, W, 4] (alpha is dropped), strided as they come.
            The orientation tag of photos (EXIF) is ignored, as annotations of data sets refer to the pixels as stored.
        spec: the detector's rule.
        size: fixed (height, width) of the network input.
        order: channel order of the arrays, `bgr` or `rgb`; files know their own.
        first: number of the first image, for error messages.

    Raises:
        MissingFile: an image file does not exist.
        BadImage: an image cannot be decoded or used; the message gives its number and, if any, its file.
        UnknownName: `order` is neither `bgr` nor `rgb`.
        BackendMissing: the kernel extension is not installed.
    """
    if order not in ("bgr", "rgb"):
        raise UnknownName(f"channel order {order!r}, expected 'bgr' or 'rgb'", help=nearest(order, ("bgr", "rgb")))
    loaded = [load_image(image, order=order, number=first + i) for i, image in enumerate(images)]
    shapes = tuple((int(image.shape[0]), int(image.shape[1])) for image in loaded)
    targets = [fitted(shape, spec, size) for shape in shapes]
    height, width = size if size is not None else canvas(targets, spec.divisor)
    pixels = np.empty((len(loaded), 3, height, width), np.float32)
    for image, target, out in zip(loaded, targets, pixels, strict=True):
        _place(image, target, spec, out)
    scales = [_scales(shape, target, spec, size) for shape, target in zip(shapes, targets, strict=True)]
    return Prepared(
        pixels=pixels,
        size=np.asarray(targets, np.float32).reshape(-1, 2),
        geometry=np.asarray([(x, y, 0.0, 0.0) for x, y in scales], np.float32).reshape(-1, 4),
        shapes=shapes,
    )


def fitted(shape: Size, spec: Preprocess, size: Size | None = None) -> Size:
    """(height, width) to which an image of `shape` is scaled, at least 1 x 1.

    letterbox: the largest that fits inside `size`, or inside `spec.size` where `size` is None, rounded down (the rule
    of the YOLOX authors). short_side: the longer side at most the larger number of `spec.size` and the shorter side at
    most the smaller one, whatever the orientation, rounded to nearest (mmdet's rule); with `size` also inside that.
    """
    height, width = shape
    scale, rounding = _scale(shape, spec, size), 0.0 if spec.fit == "letterbox" else 0.5
    return max(1, int(height * scale + rounding)), max(1, int(width * scale + rounding))


def _scale(shape: Size, spec: Preprocess, size: Size | None) -> float:
    height, width = shape
    if spec.fit == "letterbox":
        limits = size if size is not None else spec.size
        return min(limits[0] / height, limits[1] / width)
    scale = min(max(spec.size) / max(shape), min(spec.size) / min(shape))
    return scale if size is None else min(scale, size[0] / height, size[1] / width)


def _scales(shape: Size, target: Size, spec: Preprocess, size: Size | None) -> tuple[float, float]:
    """(scale_x, scale_y) by which boxes return: equal under letterbox, as in the code that trained the weights."""
    if spec.fit == "letterbox":
        scale = _scale(shape, spec, size)
        return scale, scale
    return target[1] / shape[1], target[0] / shape[0]


def canvas(targets: Sequence[Size], divisor: int) -> Size:
    """The smallest (height, width) that holds all targets and is a multiple of `divisor`."""
    height = max((target[0] for target in targets), default=1)
    width = max((target[1] for target in targets), default=1)
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def load_image(image: Image, *, order: str = "bgr", number: int = 0) -> Array:
    """Read one image as uint8 [H, W, 3], BGR. See `prepare` for what is accepted and raised."""
    if isinstance(image, (str, Path)):
        return _decode(Path(image), number)
    if not isinstance(image, np.ndarray):
        raise BadImage(f"image {number} is of type {type(image).__name__}", help=_ACCEPTED)
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
    if image.ndim == 2 or image.shape[2] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image[..., :3] if order == "bgr" else image[..., 2::-1])


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


def _place(image: Array, target: Size, spec: Preprocess, out: Array) -> None:
    """Scale `image` to `target` and write it, normalised, into the top left of out f32[3 H W]; the rest is padded."""
    height, width = target
    kernels().preprocess(
        image, out, height=height, width=width, mean=spec.mean, std=spec.std, reverse=spec.order != "bgr", pad=spec.pad
    )
