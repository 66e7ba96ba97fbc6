"""Boxes: prior grids, codecs, clipping, frames, overlap.

Coordinates are continuous: the first pixel spans 0..1, width = x2 - x1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, ROWWISE, SHAPE, Positive, op
from graphdet.ir.types import FORMATS, FRAMES, Type, known
from graphdet.ops.math import Example

Quad = tuple[float, float, float, float]


@op("f[N C H W], f[A 4] -> boxes<xyxy,net>[H*W*A 4]", FP32, SHAPE)
def anchor_grid(level: Value, cell: Value, *, stride: Positive) -> Value:
    """A level's anchors: the boxes of `cell` moved by (column, row) * stride; cells row-major, anchors innermost."""
    ...


@anchor_grid.reference
def _(level: Any, cell: Any, *, stride: int) -> Any:
    h, w = level.shape[-2:]
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    shifts = np.stack([x, y, x, y], -1).reshape(-1, 1, 4) * np.float32(stride)
    return (shifts + cell).reshape(-1, 4).astype(np.float32)


@anchor_grid.torch
def _(t: Any, level: Any, cell: Any, *, stride: int) -> Any:
    h, w = level.shape[-2:]
    y, x = t.meshgrid(t.arange(h, device=level.device), t.arange(w, device=level.device), indexing="ij")
    shifts = t.stack([x, y, x, y], -1).reshape(-1, 1, 4) * float(stride)
    return (shifts + cell).reshape(-1, 4)


@anchor_grid.onnx
def _(e: Any, level: Any, cell: Any, *, stride: int) -> Any:
    x, y = _onnx_mesh(e, level, stride)
    shifts = e.Concat(x, y, x, y, axis=-1)  # [H*W, 4]
    return e.Reshape(e.Add(e.Unsqueeze(shifts, e.sizes((1,))), cell), e.sizes((-1, 4)))


def _onnx_mesh(e: Any, level: Any, stride: int, offset: float = 0.0) -> tuple[Any, Any]:
    """Columns and rows of all cells in pixels, each [H*W, 1]."""
    h, w = e.type(level).dims[-2:]

    def steps(size: Any) -> Any:
        count = e.Range(e.scalar(0), e.size(size), e.scalar(1))
        return e.Mul(
            e.Add(e.Cast(count, to=e.dtype("f32")), e.constant(np.float32(offset))), e.constant(np.float32(stride))
        )

    shape = e.sizes((h, w))
    x = e.Expand(e.Reshape(steps(w), e.sizes((1, -1))), shape)
    y = e.Expand(e.Reshape(steps(h), e.sizes((-1, 1))), shape)
    column = e.sizes((-1, 1))
    return e.Reshape(x, column), e.Reshape(y, column)


@anchor_grid.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((1, 2, 3, 4), np.asarray([[-4, -4, 4, 4], [-8, -4, 8, 4]], np.float32)), {"stride": 8}


@op("f[N C H W] -> points<net>[H*W 4]", FP32, SHAPE)
def point_grid(level: Value, *, stride: Positive, offset: float = 0.0) -> Value:
    """A point a cell, rows (x, y, stride, stride) in net pixels; `offset` is its place in the cell, in cells."""
    ...


@point_grid.reference
def _(level: Any, *, stride: int, offset: float) -> Any:
    h, w = level.shape[-2:]
    y, x = np.meshgrid(np.arange(h) + offset, np.arange(w) + offset, indexing="ij")
    return np.stack([x * stride, y * stride, x * 0 + stride, x * 0 + stride], -1).reshape(-1, 4).astype(np.float32)


@point_grid.torch
def _(t: Any, level: Any, *, stride: int, offset: float) -> Any:
    h, w = level.shape[-2:]
    y, x = t.meshgrid(t.arange(h, device=level.device), t.arange(w, device=level.device), indexing="ij")
    side = t.full_like(x, stride)
    return t.stack([(x + offset) * stride, (y + offset) * stride, side, side], -1).reshape(-1, 4).to(t.float32)


@point_grid.onnx
def _(e: Any, level: Any, *, stride: int, offset: float) -> Any:
    x, y = _onnx_mesh(e, level, stride, offset)
    side = e.Add(e.Mul(x, e.constant(np.float32(0))), e.constant(np.float32(stride)))
    return e.Concat(x, y, side, side, axis=-1)


@point_grid.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((1, 2, 3, 4),), {"stride": 8, "offset": 0.5}
    yield ((1, 2, 1, 2),), {"stride": 32}


def _halves(boxes: Any) -> tuple[Any, Any]:
    """Centre and size of xyxy boxes."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) * 0.5, high - low


@op("boxes<xyxy,F>[*S 4], f[*R 4] -> boxes<xyxy,F>[*R 4]", ROWWISE, FP32)
def decode_deltas(
    anchors: Value,
    deltas: Value,
    *,
    means: Quad = (0, 0, 0, 0),
    stds: Quad = (1, 1, 1, 1),
    max_ratio: float = 16 / 1000,
) -> Value:
    """Boxes from centre and log-size offsets against anchors (Girshick 2015, eq. 1), xyxy in the anchors' frame.

    deltas * std + mean are (dx, dy) in anchor sizes and (dw, dh) as logarithms, the latter clipped to
    +-|log(max_ratio)|.
    """
    ...


@decode_deltas.reference
def _(anchors: Any, deltas: Any, *, means: Quad, stds: Quad, max_ratio: float) -> Any:
    centre, size = _halves(anchors)
    moved = deltas * np.asarray(stds, np.float32) + np.asarray(means, np.float32)
    limit = np.float32(abs(np.log(max_ratio)))
    middle = centre + size * moved[..., :2]
    half = size * np.exp(np.clip(moved[..., 2:], -limit, limit)) * np.float32(0.5)
    return np.concatenate([middle - half, middle + half], -1)


@decode_deltas.torch
def _(t: Any, anchors: Any, deltas: Any, *, means: Quad, stds: Quad, max_ratio: float) -> Any:
    centre, size = _halves(anchors)
    moved = deltas * deltas.new_tensor(stds) + deltas.new_tensor(means)
    limit = float(abs(np.log(max_ratio)))
    middle = centre + size * moved[..., :2]
    half = size * moved[..., 2:].clamp(-limit, limit).exp() * 0.5
    return t.cat([middle - half, middle + half], -1)


@decode_deltas.onnx
def _(e: Any, anchors: Any, deltas: Any, *, means: Quad, stds: Quad, max_ratio: float) -> Any:
    low, high = e.Split(anchors, axis=-1, num_outputs=2)
    size = e.Sub(high, low)
    centre = e.Mul(e.Add(low, high), e.constant(np.float32(0.5)))
    moved = e.Add(e.Mul(deltas, e.constant(np.asarray(stds, np.float32))), e.constant(np.asarray(means, np.float32)))
    shift, log = e.Split(moved, axis=-1, num_outputs=2)
    limit = np.float32(abs(np.log(max_ratio)))
    middle = e.Add(centre, e.Mul(size, shift))
    grown = e.Exp(e.Clip(log, e.constant(-limit), e.constant(limit)))
    half = e.Mul(e.Mul(size, grown), e.constant(np.float32(0.5)))
    return e.Concat(e.Sub(middle, half), e.Add(middle, half), axis=-1)


decode_deltas.native("decode_deltas")


def random_boxes(rng: np.random.Generator, *shape: int, extent: float = 64.0) -> Any:
    """Valid xyxy boxes for examples."""
    corner = rng.uniform(0, extent, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(1, extent / 2, (*shape, 2))], -1).astype(np.float32)


@decode_deltas.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (random_boxes(rng, 5), (2, 5, 4)), {}
    yield (random_boxes(rng, 2, 5), (2, 5, 4)), {"stds": (0.1, 0.1, 0.2, 0.2)}
    yield (random_boxes(rng, 2, 1), np.full((2, 1, 4), 50, np.float32)), {}
    yield (random_boxes(rng, 2, 0), (2, 0, 4)), {}


@op("boxes<xyxy,F>[*S 4], boxes<xyxy,F>[*R 4] -> f[*R 4]", ROWWISE, FP32)
def encode_deltas(anchors: Value, boxes: Value, *, means: Quad = (0, 0, 0, 0), stds: Quad = (1, 1, 1, 1)) -> Value:
    """The inverse of `decode_deltas`, without its clip."""
    ...


@encode_deltas.reference
def _(anchors: Any, boxes: Any, *, means: Quad, stds: Quad) -> Any:
    (centre, size), (middle, extent) = _halves(anchors), _halves(boxes)
    raw = np.concatenate([(middle - centre) / size, np.log(extent / size)], -1)
    return (raw - np.asarray(means, np.float32)) / np.asarray(stds, np.float32)


@encode_deltas.torch
def _(t: Any, anchors: Any, boxes: Any, *, means: Quad, stds: Quad) -> Any:
    (centre, size), (middle, extent) = _halves(anchors), _halves(boxes)
    raw = t.cat([(middle - centre) / size, (extent / size).log()], -1)
    return (raw - raw.new_tensor(means)) / raw.new_tensor(stds)


encode_deltas.no("onnx", "only losses need it")


@encode_deltas.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (random_boxes(rng, 5), random_boxes(rng, 2, 5)), {"stds": (0.1, 0.1, 0.2, 0.2)}


@op("points<F>[A 4], f[N A 4] -> boxes<xyxy,F>[N A 4]", ROWWISE, FP32)
def decode_points(points: Value, raw: Value) -> Value:
    """Boxes from cell points (Ge et al. 2021, YOLOX): centre = raw_xy * stride + point, size = exp(raw_wh) * stride."""
    ...


@decode_points.reference
def _(points: Any, raw: Any) -> Any:
    middle = raw[..., :2] * points[..., 2:] + points[..., :2]
    half = np.exp(raw[..., 2:]) * points[..., 2:] / 2
    return np.concatenate([middle - half, middle + half], -1)


@decode_points.torch
def _(t: Any, points: Any, raw: Any) -> Any:
    middle = raw[..., :2] * points[..., 2:] + points[..., :2]
    half = raw[..., 2:].exp() * points[..., 2:] / 2
    return t.cat([middle - half, middle + half], -1)


@decode_points.onnx
def _(e: Any, points: Any, raw: Any) -> Any:
    place, stride = e.Split(points, axis=-1, num_outputs=2)
    shift, log = e.Split(raw, axis=-1, num_outputs=2)
    middle = e.Add(e.Mul(shift, stride), place)
    half = e.Mul(e.Mul(e.Exp(log), stride), e.constant(np.float32(0.5)))
    return e.Concat(e.Sub(middle, half), e.Add(middle, half), axis=-1)


decode_points.native("decode_points")


def _points(rng: np.random.Generator, count: int) -> Any:
    return np.concatenate([rng.uniform(0, 64, (count, 2)), np.full((count, 2), 8.0)], -1).astype(np.float32)


@decode_points.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (_points(rng, 5), (2, 5, 4)), {}
    yield (_points(rng, 0), (2, 0, 4)), {}


@op("points<F>[A 4], boxes<xyxy,F>[N A 4] -> f[N A 4]", ROWWISE, FP32)
def encode_points(points: Value, boxes: Value, *, eps: float = 1e-8) -> Value:
    """The inverse of `decode_points`; `eps` keeps the logarithm of an empty box finite."""
    ...


@encode_points.reference
def _(points: Any, boxes: Any, *, eps: float) -> Any:
    middle, extent = _halves(boxes)
    return np.concatenate(
        [(middle - points[..., :2]) / points[..., 2:], np.log(extent / points[..., 2:] + np.float32(eps))], -1
    )


@encode_points.torch
def _(t: Any, points: Any, boxes: Any, *, eps: float) -> Any:
    middle, extent = _halves(boxes)
    return t.cat([(middle - points[..., :2]) / points[..., 2:], (extent / points[..., 2:] + eps).log()], -1)


encode_points.no("onnx", "only losses need it")


@encode_points.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (_points(rng, 5), random_boxes(rng, 2, 5)), {}


@op("f[*S 4] -> boxes<xyxy,net>[*S 4]", ROWWISE)
def as_boxes(x: Value, *, format: str, frame: str) -> Value:
    """Declare what plain numbers mean: boxes of a format in a frame. Nothing is computed."""
    ...


as_boxes.infer(
    lambda x, *, format, frame: Type(
        x.dtype, x.dims, "boxes", known("format", format, FORMATS), known("frame", frame, FRAMES)
    )
)
as_boxes.reference(lambda x, *, format, frame: x)
as_boxes.torch(lambda t, x, *, format, frame: x)
as_boxes.onnx(lambda e, x, *, format, frame: e.Identity(x))


@as_boxes.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4),), {"format": "xyxy", "frame": "net"}


@op("boxes<xyxy,net>[N K 4], f[N 2] -> boxes<xyxy,net>[N K 4]", ROWWISE, FP32)
def clip_boxes(boxes: Value, size: Value) -> Value:
    """Clip each image's boxes to [0, width] x [0, height]; size rows are (height, width)."""
    ...


@clip_boxes.reference
def _(boxes: Any, size: Any) -> Any:
    limit = size[:, None, [1, 0, 1, 0]]
    return np.minimum(np.maximum(boxes, 0), limit)


clip_boxes.torch(lambda t, boxes, size: t.minimum(boxes.clamp(min=0), size[:, [1, 0, 1, 0]][:, None]))
clip_boxes.onnx(
    lambda e, boxes, size: e.Min(
        e.Max(boxes, e.constant(np.float32(0))),
        e.Unsqueeze(e.Gather(size, e.constant(np.asarray([1, 0, 1, 0])), axis=1), e.sizes((1,))),
    )
)
clip_boxes.native("clip_boxes")


@clip_boxes.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (random_boxes(rng, 2, 5) - 10, np.asarray([[20, 30], [40, 10]], np.float32)), {}
    yield (random_boxes(rng, 2, 0), (2, 2)), {}


@op("boxes<xyxy,net>[N K 4], f[N 4] -> boxes<xyxy,image>[N K 4]", ROWWISE, FP32)
def to_image(boxes: Value, geometry: Value) -> Value:
    """From net to image pixels: (xyxy - offset) / scale; geometry rows are (scale_x, scale_y, offset_x, offset_y)."""
    ...


@to_image.reference
def _(boxes: Any, geometry: Any) -> Any:
    scale, offset = geometry[:, None, [0, 1, 0, 1]], geometry[:, None, [2, 3, 2, 3]]
    return (boxes - offset) / scale


to_image.torch(lambda t, boxes, geometry: (boxes - geometry[:, None, [2, 3, 2, 3]]) / geometry[:, None, [0, 1, 0, 1]])


@to_image.onnx
def _(e: Any, boxes: Any, geometry: Any) -> Any:
    scale, offset = _onnx_geometry(e, geometry)
    return e.Div(e.Sub(boxes, offset), scale)


to_image.native("to_image")


@to_image.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (random_boxes(rng, 2, 5), np.asarray([[0.5, 0.6, 0, 0], [2, 2, 3, 4]], np.float32)), {}


@op("boxes<xyxy,image>[N K 4], f[N 4] -> boxes<xyxy,net>[N K 4]", ROWWISE, FP32)
def to_net(boxes: Value, geometry: Value) -> Value:
    """From image to net pixels: xyxy * scale + offset; the inverse of `to_image`."""
    ...


to_net.reference(lambda boxes, geometry: boxes * geometry[:, None, [0, 1, 0, 1]] + geometry[:, None, [2, 3, 2, 3]])
to_net.torch(lambda t, boxes, geometry: boxes * geometry[:, None, [0, 1, 0, 1]] + geometry[:, None, [2, 3, 2, 3]])


@to_net.onnx
def _(e: Any, boxes: Any, geometry: Any) -> Any:
    scale, offset = _onnx_geometry(e, geometry)
    return e.Add(e.Mul(boxes, scale), offset)


def _onnx_geometry(e: Any, geometry: Any) -> tuple[Any, Any]:
    """Scale and offset of each image's corners, f[N 1 4] each."""
    rows = e.Unsqueeze(geometry, e.sizes((1,)))
    columns = [0, 1, 0, 1], [2, 3, 2, 3]
    scale, offset = (e.Gather(rows, e.constant(np.asarray(c)), axis=2) for c in columns)
    return scale, offset


to_net.examples(to_image.rules["examples"])


@op("boxes<xyxy,F>[*S 4], boxes<xyxy,F>[*S 4] -> f[*S]", ROWWISE, FP32)
def iou(a: Value, b: Value, *, eps: float = 1e-6, generalised: bool = False) -> Value:
    """Intersection over union of corresponding boxes; generalised: minus the empty part of the box around both.

    Union and hull are at least `eps`. Generalised IoU is that of Rezatofighi et al. 2019.
    """
    ...


def _overlap(lib: Any, a: Any, b: Any, eps: Any, generalised: bool) -> Any:
    """The overlap, for the functions of either library."""

    def area(low: Any, high: Any) -> Any:
        sides = high - low
        return sides[..., 0] * sides[..., 1]

    def between(low: Any, high: Any) -> Any:
        return area(low, lib.maximum(low, high))  # nothing, where the corners are in the wrong order

    low, high = lib.maximum(a[..., :2], b[..., :2]), lib.minimum(a[..., 2:], b[..., 2:])
    inside = between(low, high)
    union = lib.maximum(area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - inside, eps)
    if not generalised:
        return inside / union
    low, high = lib.minimum(a[..., :2], b[..., :2]), lib.maximum(a[..., 2:], b[..., 2:])
    hull = lib.maximum(between(low, high), eps)
    return inside / union - (hull - union) / hull


@iou.reference
def _(a: Any, b: Any, *, eps: float, generalised: bool) -> Any:
    return _overlap(np, a, b, a.dtype.type(eps), generalised)


@iou.torch
def _(t: Any, a: Any, b: Any, *, eps: float, generalised: bool) -> Any:
    return _overlap(t, a, b, a.new_tensor(eps), generalised)


iou.no("onnx", "only losses need it")


@iou.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (random_boxes(rng, 2, 7), random_boxes(rng, 2, 7)), {}
    yield (np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)), {}
    yield (random_boxes(rng, 2, 7), random_boxes(rng, 2, 7)), {"generalised": True}
