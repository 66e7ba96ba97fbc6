"""Masks made by dynamic kernels (Wang et al. 2020, SOLOv2): which cells learn which object, and how masks compete."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, TRAIN, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example

Ranges = tuple[tuple[float, float], ...]


@op("u8[N G H W], boxes<xyxy,net>[N G 4], i64[N G], i64[N] -> i64[N S], i64[N P], i64[N P], b[N P]", TRAIN, FP32)
def match_instances(
    masks: Value, boxes: Value, labels: Value, count: Value,
    *, grids: tuple[int, ...], ranges: Ranges, share: float = 0.2, classes: Positive,
) -> tuple[Value, Value, Value, Value]:  # fmt: skip
    """Cells of square grids over the input that learn each object (Wang et al. 2020, SOLO, sec. 3.3.1).

    An object belongs to the grids whose range (from, to) holds the square root of its box's area. Of those it takes the
    cells that a box `share` of its size around its centre of mass touches, at most one cell beyond the centre's own.
    Results: a label for each of the S cells of all grids (`classes`: none; a later object wins), and P = 9 pairs an
    object and grid: the cell, the object, whether the pair exists. An object without pixels takes no cell.
    """
    ...


@match_instances.infer
def _(
    masks: Type, boxes: Type, labels: Type, count: Type, *, grids: tuple[int, ...], ranges: Ranges, **_: Any
) -> tuple[Type, ...]:
    if len(grids) != len(ranges):
        raise BadAttribute(f"{len(ranges)} ranges for {len(grids)} grids", about="ranges")
    n, g = labels.dims
    pairs = (n, g * len(grids) * 9)
    cells = Dim.of(sum(k * k for k in grids))
    return Type("i64", (n, cells)), Type("i64", pairs), Type("i64", pairs), Type("b", pairs)


@match_instances.reference
def _(
    masks: Any, boxes: Any, labels: Any, count: Any,
    *, grids: tuple[int, ...], ranges: Ranges, share: float, classes: int,
) -> Any:  # fmt: skip
    n, g, h, w = masks.shape
    found = np.full((n, sum(k * k for k in grids)), classes, np.int64)
    cell, owner = (np.zeros((n, g, len(grids), 9), np.int64) for _ in range(2))
    real = np.zeros((n, g, len(grids), 9), bool)
    starts = np.cumsum([0, *(k * k for k in grids)])
    for i, j in ((a, b) for a in range(n) for b in range(count[a])):
        area, (width, height) = int(masks[i, j].sum(dtype=np.int64)), boxes[i, j, 2:] - boxes[i, j, :2]
        for level, (k, (low, high)) in enumerate(zip(grids, ranges, strict=True)):
            if not area or not low <= np.sqrt(width * height) <= high:
                continue
            centre = [(masks[i, j].sum(1 - a, dtype=np.int64) * np.arange((h, w)[a])).sum() / area for a in (0, 1)]
            spans = []
            for c, side, extent in zip(centre, (height, width), (h, w), strict=True):
                own, first, last = (
                    int(np.floor(x / extent * k)) for x in (c, c - side * share / 2, c + side * share / 2)
                )
                spans.append(range(max(0, first, own - 1), min(k - 1, last, own + 1) + 1))
            for p, (y, x) in enumerate(product(*spans)):
                cell[i, j, level, p], owner[i, j, level, p] = starts[level] + y * k + x, j
                real[i, j, level, p] = True
                found[i, cell[i, j, level, p]] = labels[i, j]
    return found, cell.reshape(n, -1), owner.reshape(n, -1), real.reshape(n, -1)


@match_instances.torch
def _(t: Any, masks: Any, boxes: Any, labels: Any, count: Any, **attributes: Any) -> Any:
    arrays = (x.detach().cpu().numpy() for x in (masks, boxes, labels, count))
    return tuple(t.from_numpy(x).to(masks.device) for x in match_instances.rules["reference"](*arrays, **attributes))


@match_instances.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    boxes = random_boxes(rng, 2, 4)
    y, x = np.mgrid[0:64, 0:80] + 0.5
    inside = (x > boxes[..., 0, None, None]) & (x < boxes[..., 2, None, None])
    masks = (inside & (y > boxes[..., 1, None, None]) & (y < boxes[..., 3, None, None])).astype(np.uint8)
    settings = {"grids": (8, 5), "ranges": ((1, 24), (12, 96)), "classes": 3}
    yield (masks, boxes, rng.integers(0, 3, (2, 4)), np.asarray([4, 2])), settings
    yield (masks * 0, boxes, rng.integers(0, 3, (2, 4)), np.asarray([4, 0])), settings


@op("f[N P C], f[N C M], f[N G M], i64[N P], b[N P] -> f[N P]", TRAIN, FP32)
def dynamic_dice(
    kernels: Value, features: Value, targets: Value, owner: Value, real: Value, *, eps: float = 1e-3
) -> Value:
    """Dice loss (Milletari et al. 2016) of the mask that each kernel makes of the features, against its object's.

    1 - 2 sum(p t) / (sum(p^2) + eps + sum(t^2) + eps), p = sigmoid(kernel . features); 0 for pairs that are not real.
    """
    ...


@dynamic_dice.reference
def _(kernels: Any, features: Any, targets: Any, owner: Any, real: Any, *, eps: float) -> Any:
    out = np.zeros(real.shape, np.float32)
    for i in range(len(real)):
        p, goal = 1 / (1 + np.exp(-(kernels[i][real[i]] @ features[i]))), targets[i][owner[i][real[i]]]
        out[i, real[i]] = 1 - 2 * (p * goal).sum(1) / ((p * p).sum(1) + eps + (goal * goal).sum(1) + eps)
    return out


@dynamic_dice.torch
def _(t: Any, kernels: Any, features: Any, targets: Any, owner: Any, real: Any, *, eps: float) -> Any:
    rows = []
    for i in range(len(real)):
        chosen = real[i].nonzero()[:, 0]  # few of the pairs exist: only those are worth a mask
        p, goal = (kernels[i][chosen] @ features[i]).sigmoid(), targets[i][owner[i][chosen]]
        loss = 1 - 2 * (p * goal).sum(1) / ((p * p).sum(1) + eps + (goal * goal).sum(1) + eps)
        rows.append(kernels.new_zeros(real.shape[1]).scatter(0, chosen, loss))
    return t.stack(rows)


@dynamic_dice.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    goal = (rng.random((2, 3, 12)) > 0.5).astype(np.float32)
    yield ((2, 5, 4), (2, 4, 12), goal, rng.integers(0, 3, (2, 5)), rng.random((2, 5)) > 0.4), {}
    yield (
        ((1, 2, 4), (1, 4, 6), np.zeros((1, 1, 6), np.float32), np.zeros((1, 2), np.int64), np.zeros((1, 2), bool)),
        {},
    )


@op("f[N K K], i64[N K] -> f[N K]", FP32)
def matrix_decay(ious: Value, labels: Value, *, sigma: float = 2.0) -> Value:
    """What matrix NMS multiplies each score by (Wang et al. 2020, SOLOv2, sec. 3.3), of candidates in order of rank.

    The least, over candidates i of higher rank and the same label, of exp(-sigma (IoU with i)^2) over the same of the
    largest IoU of i with one above it; at most 1.
    """
    ...


@matrix_decay.reference
def _(ious: Any, labels: Any, *, sigma: float) -> Any:
    above = np.triu(ious * (labels[:, :, None] == labels[:, None]), 1)
    peak = above.max(1)[:, :, None]
    return np.exp(np.minimum((ious.dtype.type(-sigma) * (above**2 - peak**2)).min(1), 0)).astype(ious.dtype)


@matrix_decay.torch
def _(t: Any, ious: Any, labels: Any, *, sigma: float) -> Any:
    above = (ious * (labels[:, :, None] == labels[:, None])).triu(1)
    peak = above.amax(1)[:, :, None]
    return (-sigma * (above**2 - peak**2)).amin(1).clamp(max=0).exp()


@matrix_decay.onnx
def _(e: Any, ious: Any, labels: Any, *, sigma: float) -> Any:
    same = e.Equal(e.Unsqueeze(labels, e.sizes((2,))), e.Unsqueeze(labels, e.sizes((1,))))
    above = e.Trilu(e.Mul(ious, e.Cast(same, to=e.dtype("f32"))), e.scalar(1), upper=1)
    peak = e.Unsqueeze(e.ReduceMax(above, e.sizes((1,)), keepdims=0), e.sizes((2,)))
    gap = e.Mul(e.Sub(e.Mul(above, above), e.Mul(peak, peak)), e.constant(np.float32(-sigma)))
    return e.Exp(e.Min(e.ReduceMin(gap, e.sizes((1,)), keepdims=0), e.constant(np.float32(0))))


@matrix_decay.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.random((2, 6, 6), dtype=np.float32), rng.integers(0, 2, (2, 6))), {}
    yield (np.ones((1, 3, 3), np.float32), np.zeros((1, 3), np.int64)), {"sigma": 0.5}


@op("f[N K H W] -> boxes<xyxy,net>[N K 4]", FP32)
def mask_bounds(masks: Value, *, stride: Positive, threshold: float = 0.5) -> Value:
    """The box around the cells of each mask that exceed the threshold, in net pixels; zeros where none does."""
    ...


@mask_bounds.reference
def _(masks: Any, *, stride: int, threshold: float) -> Any:
    out = np.zeros((*masks.shape[:2], 4), np.float32)
    for i, j in np.ndindex(*masks.shape[:2]):
        y, x = np.nonzero(masks[i, j] > threshold)
        if len(y):
            out[i, j] = np.asarray([x.min(), y.min(), x.max() + 1, y.max() + 1]) * stride
    return out


@mask_bounds.torch
def _(t: Any, masks: Any, *, stride: int, threshold: float) -> Any:
    on = masks > threshold
    sides = []
    for line in (on.any(2), on.any(3)):
        line = line.to(t.int32)
        last = line.shape[2] - line.flip(2).argmax(2)
        sides.append((line.argmax(2), t.where(line.amax(2) > 0, last, 0)))
    (left, right), (top, low) = sides
    return t.stack((left, top, right, low), -1).to(masks.dtype) * stride


@mask_bounds.onnx
def _(e: Any, masks: Any, *, stride: int, threshold: float) -> Any:
    on = e.Cast(e.Greater(masks, e.constant(np.float32(threshold))), to=e.dtype("f32"))
    sides = []
    for axis in (2, 3):
        line = e.ReduceMax(on, e.sizes((axis,)), keepdims=0)
        first, last = (e.ArgMax(line, axis=2, keepdims=0, select_last_index=k) for k in (0, 1))
        some = e.Cast(e.ReduceMax(line, e.sizes((2,)), keepdims=0), to=e.dtype("i64"))
        sides.append((first, e.Mul(e.Add(last, e.scalar(1)), some)))
    (left, right), (top, low) = sides
    corners = e.Concat(*(e.Unsqueeze(x, e.sizes((2,))) for x in (left, top, right, low)), axis=2)
    return e.Mul(e.Cast(corners, to=e.dtype("f32")), e.constant(np.float32(stride)))


@mask_bounds.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.random((2, 3, 5, 6), dtype=np.float32) ** 8,), {"stride": 4}
    yield (np.zeros((1, 2, 3, 3), np.float32),), {"stride": 2, "threshold": 0.1}
