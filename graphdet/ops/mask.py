"""Masks of boxes, put into their image with one interpolation, inside the boxes only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, Natural, op
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example


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
