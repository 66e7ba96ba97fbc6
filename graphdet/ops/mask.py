"""Masks of boxes: cut out of an image for training, and put into their image with one interpolation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, ROWWISE, TRAIN, Natural, op
from graphdet.ir.types import FRAMES, Type, known
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example
from graphdet.ops.roi import Size, roi_align


@op("f[*S] -> masks<roi>[*S]", ROWWISE)
def as_masks(x: Value, *, frame: str) -> Value:
    """Declare that numbers in 0..1 are masks, one grid [P Q] an object. Nothing is computed.

    frame: what a grid spans: `roi` the box of its object, `net` the padded network input.
    """
    ...


as_masks.infer(lambda x, *, frame: Type(x.dtype, x.dims, "masks", frame=known("frame", frame, FRAMES)))
as_masks.reference(lambda x, *, frame: x)
as_masks.torch(lambda t, x, *, frame: x)
as_masks.onnx(lambda e, x, *, frame: e.Identity(x))


@as_masks.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.random((2, 3, 4, 4), dtype=np.float32),), {"frame": "roi"}


@op("u8[N G H W], boxes<xyxy,net>[N K 4], i64[N K] -> f[N K B D]", TRAIN, FP32)
def crop_masks(masks: Value, boxes: Value, index: Value, *, size: Size) -> Value:
    """What the mask of a box should be: bitmap index[n, k] of the image inside the box, on a grid of `size`; 0 or 1.

    RoIAlign of the bitmap reaches 0.5 (He et al. 2017, sec. 3.1). An image without bitmaps gives zeros.
    """
    ...


crop_masks.infer(
    lambda masks, boxes, index, *, size: Type("f32", (*boxes.dims[:-1], *boxes.with_dims(size).dims)),
)


@crop_masks.reference
def _(masks: Any, boxes: Any, index: Any, *, size: Any) -> Any:
    out = np.zeros((*index.shape, *size), np.float32)
    for i in range(len(masks) if masks.shape[1] else 0):
        bitmaps = masks[i][:, None].astype(np.float32)
        rois = np.concatenate([index[i][:, None], boxes[i]], 1).astype(np.float32)
        out[i] = roi_align.rules["reference"](bitmaps, rois, size=size, scale=1.0, samples=0, aligned=True)[:, 0] >= 0.5
    return out


@crop_masks.torch
def _(t: Any, masks: Any, boxes: Any, index: Any, *, size: Any, align: Any = roi_align.rules["torch"]) -> Any:
    with t.no_grad():
        out = boxes.new_zeros((*index.shape, *size))
        for i in range(len(masks) if masks.shape[1] else 0):
            rois = t.cat([index[i][:, None].to(boxes.dtype), boxes[i]], 1)
            bitmaps = masks[i][:, None].to(boxes.dtype)
            cut = align(t, bitmaps, rois, size=size, scale=1.0, samples=0, aligned=True)
            out[i] = cut[:, 0] >= 0.5
        return out


@crop_masks.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    boxes = random_boxes(rng, 2, 5, extent=20)
    yield (rng.integers(0, 2, (2, 3, 18, 22)).astype(np.uint8), boxes, rng.integers(0, 3, (2, 5))), {"size": (4, 3)}
    yield (np.zeros((2, 0, 8, 8), np.uint8), boxes, np.zeros((2, 5), np.int64)), {"size": (2, 2)}


@op("f[N K P Q], boxes<xyxy,image>[N K 4], i64[N] -> u8[N K height width]", FP32)
def paste_masks(
    masks: Value, boxes: Value, count: Value, *, height: Natural, width: Natural, threshold: float = 0.5
) -> Value:
    """Bitmaps of the masks predicted for boxes: 1 where the bilinearly interpolated grid reaches `threshold`.

    A pixel belongs to a box when its centre (x + 0.5, y + 0.5) lies in it; nothing outside is painted. The grid spans
    the box, its cell centres at +0.5, and counts as 0 around it (grid sampling with zero padding). Rows past an image's
    count stay empty, as do boxes without extent or with a corner that is not finite.
    """
    ...


def _hats(lib: Any, low: Any, high: Any, cells: int, pixels: int) -> tuple[Any, Any]:
    """Weights [N K pixels cells] of the cells at each pixel along one axis; and which pixels lie in the box."""
    centre = lib.arange(pixels, dtype=lib.float32) + 0.5
    low, high = low[..., None], high[..., None]
    inside = (centre >= low) & (centre < high)
    at = (centre - low) / (high - low) * cells - 0.5
    weights = 1 - abs(at[..., None] - lib.arange(cells, dtype=lib.float32))
    return lib.where(weights > 0, weights, weights.dtype.type(0) if lib is np else lib.zeros_like(weights)), inside


def _paste(lib: Any, masks: Any, boxes: Any, count: Any, height: int, width: int, threshold: float) -> Any:
    x1, y1, x2, y2 = (boxes[..., i] for i in range(4))
    columns, across = _hats(lib, x1, x2, masks.shape[3], width)
    rows, down = _hats(lib, y1, y2, masks.shape[2], height)
    value = lib.matmul(rows, lib.matmul(masks, lib.swapaxes(columns, -1, -2)))
    real = (lib.arange(masks.shape[1]) < count[:, None]) & lib.isfinite(boxes).all(-1)
    inside = down[..., :, None] & across[..., None, :] & real[..., None, None]
    return (value >= threshold) & inside


@paste_masks.reference
def _(masks: Any, boxes: Any, count: Any, *, height: int, width: int, threshold: float) -> Any:
    with np.errstate(all="ignore"):
        return _paste(np, masks, boxes, count, height, width, threshold).astype(np.uint8)


@paste_masks.torch
def _(t: Any, masks: Any, boxes: Any, count: Any, *, height: int, width: int, threshold: float) -> Any:
    return _paste(t, masks, boxes, count, height, width, threshold).to(t.uint8)


def _onnx_hats(e: Any, low: Any, high: Any, cells: Any, pixels: int) -> tuple[Any, Any]:
    centre = e.constant(np.arange(pixels, dtype=np.float32) + np.float32(0.5))
    inside = e.And(e.GreaterOrEqual(centre, low), e.Less(centre, high))
    wide = e.Cast(e.size(cells), to=e.dtype("f32"))
    half = e.constant(np.float32(0.5))
    at = e.Sub(e.Mul(e.Div(e.Sub(centre, low), e.Sub(high, low)), wide), half)
    places = e.Cast(e.Range(e.scalar(0), e.size(cells), e.scalar(1)), to=e.dtype("f32"))
    distance = e.Abs(e.Sub(e.Unsqueeze(at, e.sizes((-1,))), places))
    return e.Relu(e.Sub(e.constant(np.float32(1)), distance)), inside


@paste_masks.onnx
def _(e: Any, masks: Any, boxes: Any, count: Any, *, height: int, width: int, threshold: float) -> Any:
    _n, k, h, w = e.type(masks).dims
    x1, y1, x2, y2 = e.Split(boxes, axis=-1, num_outputs=4)
    columns, across = _onnx_hats(e, x1, x2, w, width)
    rows, down = _onnx_hats(e, y1, y2, h, height)
    value = e.MatMul(rows, e.MatMul(masks, e.Transpose(columns, perm=[0, 1, 3, 2])))
    places = e.Range(e.scalar(0), e.size(k), e.scalar(1))
    real = e.Less(places, e.Unsqueeze(count, e.sizes((1,))))
    inside = e.And(e.Unsqueeze(down, e.sizes((3,))), e.Unsqueeze(across, e.sizes((2,))))
    inside = e.And(inside, e.Unsqueeze(real, e.sizes((2, 3))))
    painted = e.And(e.GreaterOrEqual(value, e.constant(np.float32(threshold))), inside)
    return e.Cast(painted, to=e.dtype("u8"))


paste_masks.native("paste_masks")


@paste_masks.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    boxes = random_boxes(rng, 2, 3, extent=20) - 4
    boxes[1, 1] = 5, 5, 5, 9
    yield (rng.random((2, 3, 4, 5), dtype=np.float32), boxes, np.asarray([3, 2])), {"height": 17, "width": 23}
    yield (
        (rng.random((1, 2, 1, 1), dtype=np.float32), random_boxes(rng, 1, 2, extent=9), np.asarray([5])),
        {"height": 8, "width": 9, "threshold": 0.2},
    )
