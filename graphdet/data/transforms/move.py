"""The one place where samples move: image, boxes, outlines, bitmaps and semantic map by the same affine map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.errors import UnknownName, nearest
from graphdet.records import Array, Mask, Truth

Size = tuple[int, int]
Fill = int | tuple[int, int, int]
VOID = 255  # of semantic maps
_EPS = 1e-9


def interpolation_of(name: str) -> int:
    """OpenCV's number of an interpolation: nearest, bilinear, bicubic, area or lanczos."""
    import cv2

    known = {
        **{"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC},
        **{"area": cv2.INTER_AREA, "lanczos": cv2.INTER_LANCZOS4},
    }
    if name not in known:
        raise UnknownName(f"interpolation {name!r} is unknown", help=nearest(name, known) or ", ".join(known))
    return int(known[name])


def translation(x: float, y: float) -> Array:
    """f64[2 3]: by x to the right and y down."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def scaling(x: float, y: float) -> Array:
    """f64[2 3]: by these factors, from the top left corner."""
    return np.array([[x, 0.0, 0.0], [0.0, y, 0.0]])


def joined(*matrices: Array) -> Array:
    """f64[2 3]: the maps one after the other, the last one first, as matrices multiply."""
    whole = np.eye(3)
    for matrix in matrices:
        whole = whole @ np.vstack([matrix, [0.0, 0.0, 1.0]])
    return np.asarray(whole[:2])


def move(
    sample: Sample, matrix: Array, size: Size, *, fill: Fill = 114, masks: int = 0, semantic: int = VOID,
    interpolation: str = "bilinear",
) -> Sample:  # fmt: skip
    """The sample under the map p -> matrix (p, 1), seen through a window of `size` (height, width) at the origin.

    Coordinates are those of boxes: the first pixel is 0..1. Shifts by whole pixels and mirrorings are exact. What the
    window shows beyond the image has the colour `fill`, in bitmaps the value `masks`, in a semantic map `semantic`.
    Objects are not clipped or left out; proposals are clipped to the window, and left out where nothing remains.
    """
    image = warp(sample.pixels(), matrix, size, fill, interpolation_of(interpolation))
    classes = None if sample.semantic is None else warp(sample.semantic, matrix, size, semantic, 0)
    truth, proposals = _moved(sample.truth, matrix, size, masks), _moved_proposals(sample, matrix, size)
    return replace(sample, image=image, size=size, truth=truth, semantic=classes, proposals=proposals)


def warp(image: Array, matrix: Array, size: Size, fill: Fill, interpolation: int) -> Array:
    """One picture under the map; see `move`."""
    import cv2

    colour = (fill,) * 3 if isinstance(fill, int) else fill
    (a, b), (c, d) = matrix[:, :2]
    height, width = image.shape[:2]
    if abs(b) < _EPS and abs(c) < _EPS:
        whole = abs(matrix[:, 2] - np.round(matrix[:, 2])).max() < _EPS
        if abs(abs(a) - 1) < _EPS and abs(abs(d) - 1) < _EPS and whole:
            return _placed(image[:: round(d), :: round(a)], matrix, size, colour)
        fits = abs(a * width - size[1]) < 1 and abs(d * height - size[0]) < 1
        if a > 0 and d > 0 and fits and abs(matrix[:, 2]).max() < _EPS:
            return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation))
    # warpAffine counts from pixel centres: p + 1/2 -> M (p + 1/2) - 1/2
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
    plain = interpolation if interpolation != cv2.INTER_AREA else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(image, centred, size[::-1], flags=plain, borderValue=colour))


def _placed(image: Array, matrix: Array, size: Size, colour: tuple[int, ...]) -> Array:
    """An image, mirrored already, pasted at whole pixels."""
    height, width = image.shape[:2]
    left = round(matrix[0, 2]) - (width if matrix[0, 0] < 0 else 0)
    top = round(matrix[1, 2]) - (height if matrix[1, 1] < 0 else 0)
    if (left, top, size) == (0, 0, (height, width)):
        return np.ascontiguousarray(image)
    out = np.empty((*size, *image.shape[2:]), image.dtype)
    out[:] = colour if image.ndim == 3 else colour[0]
    x1, y1, x2, y2 = max(0, left), max(0, top), min(size[1], left + width), min(size[0], top + height)
    if x2 > x1 and y2 > y1:
        out[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
    return out


def _moved_proposals(sample: Sample, matrix: Array, size: Size) -> Array | None:
    """The proposals of `move`; None where the sample carries none."""
    if sample.proposals is None:
        return None
    boxes = np.clip(_moved_boxes(sample.proposals, matrix), 0, [*size[::-1], *size[::-1]]).astype(np.float32)
    return boxes[(extents(boxes) > 0).all(1)]


def _moved_boxes(boxes: Array, matrix: Array) -> Array:
    corners = boxes.astype(np.float64)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]  # [G 4 2]
    points = corners @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([points.min(1), points.max(1)], 1).astype(np.float32).reshape(-1, 4)


def _moved(truth: Truth, matrix: Array, size: Size, fill: int) -> Truth:
    masks = None if truth.masks is None else tuple(_moved_mask(m, matrix, size, fill) for m in truth.masks)
    return replace(truth, boxes=_moved_boxes(truth.boxes, matrix), masks=masks)


def _moved_mask(mask: Mask, matrix: Array, size: Size, fill: int) -> Mask:
    if isinstance(mask, tuple):
        return tuple((p @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32) for p in mask)
    return warp(mask, matrix, size, fill, 0)


def clipped(sample: Sample) -> Sample:
    """The sample with boxes cut off at the image's edges (outlines are cut when they are drawn)."""
    height, width = sample.size
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.clip(sample.truth.boxes, 0, limits).astype(np.float32)
    return replace(sample, truth=replace(sample.truth, boxes=boxes))


def kept(sample: Sample, keep: Any) -> Sample:
    """The sample with only the objects where `keep`, b[G], is true."""
    return sample if keep.all() else replace(sample, truth=sample.truth.take(keep))


def visible(sample: Sample) -> Array:
    """b[G]: boxes with some extent inside the image."""
    b, (height, width) = sample.truth.boxes, sample.size
    inside = (b[:, 0] < width) & (b[:, 1] < height) & (b[:, 2] > 0) & (b[:, 3] > 0)
    return np.asarray(inside & (b[:, 2] > b[:, 0]) & (b[:, 3] > b[:, 1]))


def extents(boxes: Array) -> Array:
    """f32[G 2]: width and height of boxes."""
    return np.asarray(boxes[:, 2:] - boxes[:, :2])


def bitmap(mask: Mask, size: Size) -> Array:
    """u8[H W] of 0 and 1. Outlines are filled as COCO fills polygons (pycocotools)."""
    if not isinstance(mask, tuple):
        return mask
    from pycocotools import mask as coco

    flat = [p.astype(np.float64).ravel().tolist() for p in mask if len(p) >= 3]
    if not flat:
        return np.zeros(size, np.uint8)
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects(flat, *size))), np.uint8)


def box_of(mask: Array) -> Array:
    """f32[4]: the smallest box around the set pixels of a bitmap; zeros where there are none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros(4, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
