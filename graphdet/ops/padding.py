"""What lies inside each image of a padded batch, and padding that is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, NATIVE, SHAPE, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.box import random_boxes
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


@op("boxes<xyxy,F>[N M 4], labels[N M], i64[N] -> boxes<xyxy,F>[N R 4], labels[N R]", NATIVE)
def cut_padding(
    boxes: Value, labels: Value, count: Value, *, steps: tuple[Positive, ...] = (1, 4, 16, 32, 100)
) -> tuple[Value, Value]:
    """Padded boxes and labels in as few rows as hold those that exist, so that few boxes do not pay for a hundred.

    The number of rows is the first of `steps` that no image's count exceeds (and M, where that is less): few sizes, as
    backends prepare for each. It is a size of the graph that depends on data, named after the largest step: `R100`.
    What follows has fewer rows, the same ones.
    """
    ...


@cut_padding.infer
def _(boxes: Type, labels: Type, count: Type, *, steps: tuple[int, ...]) -> tuple[Type, Type]:
    if not steps or list(steps) != sorted(set(steps)):
        raise BadAttribute(f"steps {steps} do not ascend", about="steps")
    most = boxes.dims[1].bound
    if most is None or most > steps[-1]:
        raise BadAttribute(f"'boxes' has {boxes.dims[1]} rows, the last step is {steps[-1]}", about="steps")
    rows = Dim.symbol(f"R{steps[-1]}", bound=steps[-1])
    return boxes.with_dims((boxes.dims[0], rows, 4)), labels.with_dims((labels.dims[0], rows))


def _rows(most: int, rows: int, steps: tuple[int, ...]) -> int:
    """How many rows are kept of `rows`, of which `most` exist."""
    return min(rows, next((s for s in steps if s >= most), rows))


@cut_padding.reference
def _(boxes: Any, labels: Any, count: Any, *, steps: tuple[int, ...]) -> Any:
    rows = _rows(int(count.max()), boxes.shape[1], steps)
    return boxes[:, :rows], labels[:, :rows]


@cut_padding.torch
def _(t: Any, boxes: Any, labels: Any, count: Any, *, steps: tuple[int, ...]) -> Any:
    rows = _rows(int(count.max()), boxes.shape[1], steps)
    return boxes[:, :rows], labels[:, :rows]


@cut_padding.onnx
def _(e: Any, boxes: Any, labels: Any, count: Any, *, steps: tuple[int, ...]) -> Any:
    known, most = e.constant(np.asarray(steps, np.int64)), e.ReduceMax(count, keepdims=0)
    rows = e.sizes((e.type(boxes).dims[1],))
    enough = e.Where(e.Less(known, most), rows, known)
    rows = e.Min(rows, e.ReduceMin(enough, keepdims=1))

    def first(x: Any) -> Any:
        return e.Slice(x, e.sizes((0,)), rows, e.sizes((1,)))

    return first(boxes), first(labels)


cut_padding.native("cut_padding")


@cut_padding.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    def padded(n: int, k: int, *count: int) -> Any:
        return random_boxes(rng, n, k), rng.integers(0, 9, (n, k)), np.asarray(count)

    yield padded(2, 9, 2, 3), {"steps": (1, 4, 9)}
    yield padded(2, 9, 0, 0), {"steps": (1, 4, 9)}
    yield padded(2, 6, 5, 0), {"steps": (1, 4, 9)}
    yield padded(1, 6, 4), {}
    yield padded(1, 0, 0), {}
