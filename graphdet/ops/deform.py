"""Sampling where the network says: deformable convolution and multi-scale deformable attention.

All of them read feature maps by bilinear interpolation between pixel centres, with zeros around the map. The ONNX forms
gather pixels and weigh them, with the operators that every backend computes alike. A coordinate that is infinite reads
zero, as does NaN everywhere but in ONNX, where the backend decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import ShapeMismatch
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, Natural, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.math import Example

_SIZE = "(H+2*padding-dilation*(K-1)-1)//stride+1 (W+2*padding-dilation*(L-1)-1)//stride+1"


@op(
    "f[N C H W], f[O C/offset_groups*offset_groups/groups K L], "
    f"f[N 2*offset_groups*K*L {_SIZE}], f[N offset_groups*K*L {_SIZE}]?, f[O]? -> f[N O/groups*groups {_SIZE}]"
)
def deform_conv2d(
    x: Value, weight: Value, offset: Value, mask: Value | None = None, bias: Value | None = None, *,
    stride: Positive = 1, padding: Natural = 0, dilation: Positive = 1, groups: Positive = 1,
    offset_groups: Positive = 1,
) -> Value:  # fmt: skip
    """Convolution whose kernel points are moved by offsets (Dai et al. 2017), and weighed by a mask (Zhu et al. 2019).

    `offset` holds, for each output pixel, (dy, dx) in input pixels of every kernel point, row-major, of every offset
    group: channels (group, point, 2). Each offset group moves its share of the input channels. `mask` has a factor a
    kernel point: channels (group, point).
    """
    ...


def _corners(y: Any, x: Any, height: int, width: int) -> Iterator[tuple[Any, Any]]:
    """(cell, weight) of the four pixels around each point; cells outside the map have weight 0."""
    for down in (0, 1):
        for right in (0, 1):
            row, column = np.floor(y) + down, np.floor(x) + right
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = np.where(inside, (1 - abs(y - row)) * (1 - abs(x - column)), 0)
            yield np.where(inside, row * width + column, 0).astype(np.int64), weight


@deform_conv2d.reference
def _(
    x: Any, weight: Any, offset: Any, mask: Any, bias: Any,
    *, stride: int, padding: int, dilation: int, groups: int, offset_groups: int,
) -> Any:  # fmt: skip
    n, channels, height, width = x.shape
    outputs, _, k, m = weight.shape
    p, q = offset.shape[2:]
    moves = offset.reshape(n, offset_groups, k, m, 2, p, q)
    factors = np.ones_like(moves[:, :, :, :, 0]) if mask is None else mask.reshape(n, offset_groups, k, m, p, q)
    planes = x.reshape(n, offset_groups, channels // offset_groups, height * width)
    filters = weight.reshape(groups, outputs // groups, -1, k, m)
    rows, columns = (np.arange(size, dtype=offset.dtype) * stride - padding for size in (p, q))
    out = np.zeros((n, groups, outputs // groups, p, q), x.dtype)
    for a in range(k):
        for b in range(m):
            read = np.zeros((n, offset_groups, channels // offset_groups, p, q), x.dtype)
            for i in range(n):
                for g in range(offset_groups):
                    y = rows[:, None] + a * dilation + moves[i, g, a, b, 0]
                    across = columns + b * dilation + moves[i, g, a, b, 1]
                    for cell, share in _corners(y, across, height, width):
                        read[i, g] += planes[i, g][:, cell] * (share * factors[i, g, a, b])
            read = read.reshape(n, groups, channels // groups, p, q)
            out += np.einsum("ngcpq,goc->ngopq", read, filters[..., a, b])
    out = out.reshape(n, outputs, p, q)
    return (out if bias is None else out + bias[:, None, None]).astype(x.dtype)


@deform_conv2d.flops
def _(x: Any, weight: Any, *_: Any, out: Any, **__: Any) -> int:
    samples = np.prod(out) // out[1] * np.prod(weight[2:]) * x[1]
    return int(np.prod(out) * np.prod(weight[1:]) + 4 * samples)


def _torch_corners(t: Any, y: Any, x: Any, height: int, width: int) -> Iterator[tuple[Any, Any]]:
    """`_corners` whose weights carry a gradient to the coordinates of points less than a pixel from the map."""
    low = [v.detach().floor() for v in (y, x)]
    near = (y > -1) & (x > -1)
    for down in (0, 1):
        for right in (0, 1):
            row, column = low[0] + down, low[1] + right
            inside = near & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            tall = y - low[0] if down else 1 - (y - low[0])
            wide = x - low[1] if right else 1 - (x - low[1])
            cell = t.where(inside, row * width + column, t.zeros_like(row)).long()
            yield cell, t.where(inside, tall * wide, t.zeros_like(row))


@deform_conv2d.torch
def _(
    t: Any, x: Any, weight: Any, offset: Any, mask: Any, bias: Any,
    *, stride: int, padding: int, dilation: int, groups: int, offset_groups: int,
) -> Any:  # fmt: skip
    n, channels, height, width = x.shape
    outputs, _, k, m = weight.shape
    p, q = offset.shape[2:]

    def base(count: int, points: int) -> Any:
        steps = t.arange(count, device=x.device) * stride - padding
        return (steps[:, None] + t.arange(points, device=x.device) * dilation).to(offset.dtype)

    # points lie as [n, output pixel, kernel point, offset group], so that gathered rows join without moving
    moves = offset.reshape(n, offset_groups, k * m, 2, p * q).permute(3, 0, 4, 2, 1)
    y = moves[0] + base(p, k)[:, None, :, None].expand(p, q, k, m).reshape(p * q, k * m, 1)
    across = moves[1] + base(q, m)[None, :, None, :].expand(p, q, k, m).reshape(p * q, k * m, 1)
    share = channels // offset_groups
    table = x.reshape(n, offset_groups, share, height * width).permute(0, 3, 1, 2).reshape(-1, share)
    images = t.arange(n, device=x.device)[:, None, None, None] * (height * width)
    group = t.arange(offset_groups, device=x.device)
    read: Any = 0
    for cell, part in _torch_corners(t, y, across, height, width):
        read = read + table[(images + cell) * offset_groups + group] * part[..., None]
    if mask is not None:
        read = read * mask.reshape(n, offset_groups, k * m, p * q).permute(0, 3, 2, 1)[..., None]
    read = read.reshape(n, p * q, k * m, groups, channels // groups)
    filters = weight.reshape(groups, outputs // groups, channels // groups, k * m)
    out = t.einsum("nptgc,goct->ngop", read, filters).reshape(n, outputs, p, q)
    return out if bias is None else out + bias[:, None, None]


def _onnx_corners(e: Any, y: Any, x: Any, height: Any, width: Any) -> Iterator[tuple[Any, Any]]:
    """`_corners` in ONNX; clipping before the cast and after it keeps every cell on the map."""
    axes = []
    for at, size in ((y, height), (x, width)):
        count = e.size(size)
        limit = e.Cast(count, to=e.dtype("f32"))
        placed = e.Min(e.Max(at, e.constant(np.float32(-1))), limit)
        low = e.Floor(placed)
        part = e.Sub(placed, low)
        first, most = e.Cast(low, to=e.dtype("i64")), e.Sub(count, e.scalar(1))
        pair = []
        for step, share in ((0, e.Sub(e.constant(np.float32(1)), part)), (1, part)):
            cell = e.Add(first, e.scalar(step))
            kept = e.Min(e.Max(cell, e.scalar(0)), most)
            pair.append((kept, e.Where(e.Equal(kept, cell), share, e.constant(np.float32(0)))))
        axes.append(pair)
    for row, tall in axes[0]:
        start = e.Mul(row, e.size(width))
        for column, wide in axes[1]:
            yield e.Add(start, column), e.Mul(tall, wide)


def _onnx_steps(e: Any, count: Any, stride: int, padding: int, points: int, dilation: int) -> Any:
    """Where the kernel's points lie along one axis before they are moved: f32[count points]."""
    at = e.Mul(e.Range(e.scalar(0), e.size(count), e.scalar(1)), e.scalar(stride))
    offsets = np.arange(points) * dilation - padding
    return e.Cast(e.Add(e.Unsqueeze(at, e.sizes((1,))), e.constant(offsets)), to=e.dtype("f32"))


@deform_conv2d.onnx
def _(
    e: Any, x: Any, weight: Any, offset: Any, mask: Any, bias: Any,
    *, stride: int, padding: int, dilation: int, groups: int, offset_groups: int,
) -> Any:  # fmt: skip
    n, channels, height, width = e.type(x).dims
    outputs, _, k, m = (d.constant for d in e.type(weight).dims)
    p, q = e.type(offset).dims[2:]
    points, share = k * m, channels // offset_groups
    down = e.Reshape(_onnx_steps(e, p, stride, padding, k, dilation), e.sizes((p, 1, k, 1)))
    right = e.Reshape(_onnx_steps(e, q, stride, padding, m, dilation), e.sizes((1, q, 1, m)))
    moves = e.Reshape(offset, e.sizes((n, offset_groups, points, 2, p * q)))
    moves = e.Transpose(moves, perm=[3, 0, 4, 2, 1])
    y, across = (
        e.Add(
            e.Gather(moves, e.scalar(axis), axis=0),
            e.Reshape(e.Expand(base, e.sizes((p, q, k, m))), e.sizes((p * q, points, 1))),
        )
        for axis, base in enumerate((down, right))
    )
    table = e.Reshape(x, e.sizes((n, offset_groups, share, height * width)))
    table = e.Reshape(e.Transpose(table, perm=[0, 3, 1, 2]), e.sizes((n * height * width * offset_groups, share)))
    images = e.Mul(e.Range(e.scalar(0), e.size(n), e.scalar(1)), e.size(height * width))
    images = e.Reshape(images, e.sizes((n, 1, 1, 1)))
    read: Any = None
    for cell, part in _onnx_corners(e, y, across, height, width):
        row = e.Add(e.Mul(e.Add(cell, images), e.scalar(offset_groups)), e.constant(np.arange(offset_groups)))
        taken = e.Mul(e.Gather(table, row, axis=0), e.Unsqueeze(part, e.sizes((-1,))))
        read = taken if read is None else e.Add(read, taken)
    if mask is not None:
        factors = e.Reshape(mask, e.sizes((n, offset_groups, points, p * q)))
        read = e.Mul(read, e.Unsqueeze(e.Transpose(factors, perm=[0, 3, 2, 1]), e.sizes((-1,))))
    inner = channels // groups
    read = e.Transpose(e.Reshape(read, e.sizes((n, p * q, points, groups, inner))), perm=[0, 3, 1, 2, 4])
    read = e.Reshape(read, e.sizes((n, groups, p * q, points * inner)))
    filters = e.Reshape(weight, e.sizes((groups, outputs // groups, inner, points)))
    filters = e.Reshape(e.Transpose(filters, perm=[0, 3, 2, 1]), e.sizes((groups, points * inner, outputs // groups)))
    out = e.Transpose(e.MatMul(read, filters), perm=[0, 1, 3, 2])
    out = e.Reshape(out, e.sizes((n, outputs, p, q)))
    return out if bias is None else e.Add(out, e.Reshape(bias, e.sizes((outputs, 1, 1))))


deform_conv2d.native("deform_conv2d")


@deform_conv2d.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    def moves(*shape: int) -> Any:
        return rng.uniform(-3, 3, shape).astype(np.float32)

    def filters(*shape: int) -> Any:
        return rng.normal(0, 0.2, shape).astype(np.float32)

    masks = rng.random((2, 18, 5, 6), dtype=np.float32)
    yield ((1, 3, 6, 7), filters(4, 3, 3, 3), moves(1, 18, 6, 7), None, (4,)), {"padding": 1}
    yield (
        ((2, 4, 5, 6), filters(6, 2, 3, 3), moves(2, 36, 5, 6), masks, (6,)),
        {"padding": 2, "dilation": 2, "groups": 2, "offset_groups": 2},
    )
    yield ((1, 2, 7, 7), filters(2, 2, 2, 3), moves(1, 12, 3, 3), None, None), {"stride": 2}
    yield ((0, 2, 4, 4), filters(2, 2, 1, 1), moves(0, 2, 4, 4), None, None), {}


@op("f[N S M D], f[N Q M E P 2], f[N Q M E P], f[N C Y X]* -> f[N Q M*D]", FP32)
def deform_attention(value: Value, locations: Value, weights: Value, *levels: Value) -> Value:
    """Multi-scale deformable attention (Zhu et al. 2021, eq. 3): per head, a weighted sum of sampled values.

    `value` holds the cells of all levels, row-major and one level after the other, for M heads of D channels;
    `levels` are the E maps that those cells come from, of which only height and width are read. Each query reads P
    points a level and head, at `locations` (x, y) relative to the map: 0..1 spans it, pixel centres lie at +0.5.
    """
    ...


@deform_attention.infer
def _(value: Type, locations: Type, weights: Type, *levels: Type) -> Type:
    n, cells, heads, width = value.dims
    if locations.dims[3] != len(levels):
        raise ShapeMismatch(f"is {locations}, for {len(levels)} levels", about=1)
    total = sum((y * x for *_, y, x in (level.dims for level in levels)), start=cells * 0)
    if total != cells:
        raise ShapeMismatch(f"has {cells} cells, but the levels have {total}", about=0)
    return value.with_dims((n, locations.dims[1], heads * width))


@deform_attention.reference
def _(value: Any, locations: Any, weights: Any, *levels: Any) -> Any:
    n, _, heads, width = value.shape
    out = np.zeros((n, locations.shape[1], heads, width), value.dtype)
    start = 0
    for e, level in enumerate(levels):
        h, w = level.shape[2:]
        for i in range(n):
            for m in range(heads):
                x, y = np.moveaxis(locations[i, :, m, e] * np.asarray([w, h], value.dtype), -1, 0)
                for cell, share in _corners(y - value.dtype.type(0.5), x - value.dtype.type(0.5), h, w):
                    factor = (share * weights[i, :, m, e])[..., None]
                    out[i, :, m] += (value[i, start + cell, m] * factor).sum(1)
        start += h * w
    return out.reshape(n, -1, heads * width)


@deform_attention.torch
def _(t: Any, value: Any, locations: Any, weights: Any, *levels: Any) -> Any:
    n, cells, heads, width = value.shape
    table = value.reshape(-1, width)
    images = (t.arange(n, device=value.device) * cells)[:, None, None, None]
    head = t.arange(heads, device=value.device)[:, None]
    out: Any = 0
    start = 0
    for e, level in enumerate(levels):
        h, w = level.shape[2:]
        x, y = locations[..., e, :, 0] * w - 0.5, locations[..., e, :, 1] * h - 0.5
        for cell, share in _torch_corners(t, y, x, h, w):
            rows = (images + start + cell) * heads + head
            out = out + (table[rows] * (share * weights[..., e, :])[..., None]).sum(3)
        start += h * w
    return out.reshape(n, -1, heads * width)


@deform_attention.flops
def _(value: Any, locations: Any, *_: Any, out: Any) -> int:
    return int(np.prod(locations[:-1]) * 5 * value[3])


@deform_attention.onnx
def _(e: Any, value: Any, locations: Any, weights: Any, *levels: Any) -> Any:
    n, cells, heads, width = e.type(value).dims
    queries = e.type(locations).dims[1]
    table = e.Reshape(value, e.sizes((n * cells * heads, width)))
    images = e.Mul(e.Range(e.scalar(0), e.size(n), e.scalar(1)), e.size(cells))
    images, head = e.Reshape(images, e.sizes((n, 1, 1, 1))), e.Range(e.scalar(0), e.size(heads), e.scalar(1))
    head = e.Reshape(head, e.sizes((heads, 1)))
    half, out, start = e.constant(np.float32(0.5)), None, cells * 0
    for i, level in enumerate(levels):
        h, w = e.type(level).dims[2:]
        here = e.Gather(locations, e.scalar(i), axis=3)
        x, y = (
            e.Sub(e.Mul(e.Gather(here, e.scalar(axis), axis=4), e.Cast(e.size(size), to=e.dtype("f32"))), half)
            for axis, size in ((0, w), (1, h))
        )
        factor = e.Gather(weights, e.scalar(i), axis=3)
        for cell, share in _onnx_corners(e, y, x, h, w):
            rows = e.Add(e.Mul(e.Add(e.Add(cell, images), e.size(start)), e.size(heads)), head)
            taken = e.Mul(e.Gather(table, rows, axis=0), e.Unsqueeze(e.Mul(share, factor), e.sizes((-1,))))
            taken = e.ReduceSum(taken, e.sizes((3,)), keepdims=0)
            out = taken if out is None else e.Add(out, taken)
        start = start + h * w
    return e.Reshape(out, e.sizes((n, queries, heads * width)))


deform_attention.native("deform_attention")


@deform_attention.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    def case(n: int, queries: int, heads: int, width: int, points: int, *sizes: tuple[int, int]) -> Example:
        shape = (n, queries, heads, len(sizes), points)
        cells = sum(h * w for h, w in sizes)
        where = rng.uniform(-0.2, 1.2, (*shape, 2)).astype(np.float32)
        return ((n, cells, heads, width), where, shape, *((n, 1, h, w) for h, w in sizes)), {}

    yield case(2, 5, 2, 3, 4, (6, 7), (3, 4))
    yield case(1, 7, 4, 8, 1, (5, 5))
    yield case(1, 0, 1, 2, 2, (3, 2), (1, 1), (2, 2))
