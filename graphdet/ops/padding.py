"""What lies inside each image of a padded batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, SHAPE, Positive, op
from graphdet.ops.math import Example


@op("f[N C H W], f[N 2] -> b[N H*W*per_cell]", FP32)
def cells_inside(level: Value, size: Value, *, stride: Positive, per_cell: Positive = 1) -> Value:
    """Whether each prior's cell starts inside its unpadded image; size rows are (height, width), cells row-major."""
    ...


@cells_inside.reference
def _(level: Any, size: Any, *, stride: int, per_cell: int) -> Any:
    n, (h, w) = len(size), level.shape[-2:]
    limit = np.ceil(size / stride)
    rows = np.arange(h)[None, :, None] < limit[:, 0, None, None]
    columns = np.arange(w)[None, None, :] < limit[:, 1, None, None]
    return np.repeat((rows & columns).reshape(n, h * w), per_cell, 1)


@cells_inside.torch
def _(t: Any, level: Any, size: Any, *, stride: int, per_cell: int) -> Any:
    n, (h, w) = len(size), level.shape[-2:]
    limit = (size / stride).ceil()
    rows = t.arange(h, device=size.device)[None, :, None] < limit[:, 0, None, None]
    columns = t.arange(w, device=size.device)[None, None, :] < limit[:, 1, None, None]
    return (rows & columns).reshape(n, h * w).repeat_interleave(per_cell, 1)


@cells_inside.onnx
def _(e: Any, level: Any, size: Any, *, stride: int, per_cell: int) -> Any:
    n, _, h, w = e.type(level).dims
    limit = e.Ceil(e.Div(size, e.constant(np.float32(stride))))

    def before(axis: int, count: Any, shape: tuple[int, ...]) -> Any:
        places = e.Cast(e.Range(e.scalar(0), e.size(count), e.scalar(1)), to=e.dtype("f32"))
        bound = e.Unsqueeze(e.Slice(limit, e.sizes((axis,)), e.sizes((axis + 1,)), e.sizes((1,))), e.sizes((2, 3)))
        return e.Less(e.Reshape(places, e.sizes(shape)), bound)

    inside = e.And(before(0, h, (1, -1, 1, 1)), before(1, w, (1, 1, -1, 1)))
    return e.Reshape(e.Expand(inside, e.sizes((n, h, w, per_cell))), e.sizes((n, h * w * per_cell)))


@cells_inside.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 1, 3, 4), np.asarray([[24, 32], [17, 9]], np.float32)), {"stride": 8, "per_cell": 2}
    yield ((2, 1, 3, 4), np.asarray([[24, 32], [16, 1]], np.float32)), {"stride": 8}


@op("f[N C H W] -> f[2]", SHAPE)
def map_size(level: Value) -> Value:
    """Width and height of a feature map, in cells."""
    ...


map_size.reference(lambda level: np.asarray(level.shape[:1:-1], np.float32))
map_size.torch(lambda t, level: level.new_tensor(level.shape[:1:-1]))


@map_size.onnx
def _(e: Any, level: Any) -> Any:
    h, w = e.type(level).dims[2:]
    return e.Cast(e.sizes((w, h)), to=e.dtype("f32"))


@map_size.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((1, 2, 3, 4),), {}
