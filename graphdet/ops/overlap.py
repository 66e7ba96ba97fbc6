"""Overlap of each box of one set with each of another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, TRAIN, op
from graphdet.ir.types import Type, tensor
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example


@op("boxes<xyxy,F>[N A 4], boxes<xyxy,F>[N B 4] -> f[N A B]", FP32)
def pairwise_iou(a: Value, b: Value, *, generalised: bool = False) -> Value:
    """IoU of each box of `a` with each of `b`, image by image; generalised: minus the empty part around both.

    Generalised IoU is that of Rezatofighi et al. 2019. Negative sizes count as 0. Where union or hull are 0, or not a
    number, their quotient counts as 0.
    """
    ...


def _sides(lib: Any, low: Any, high: Any) -> Any:
    extent = high - low
    return lib.where(extent < 0, lib.zeros_like(extent), extent)


def _area(lib: Any, low: Any, high: Any) -> Any:
    sides = _sides(lib, low, high)
    return sides[..., 0] * sides[..., 1]


def _quotient(lib: Any, part: Any, whole: Any, valid: Any) -> Any:
    valid = valid & (whole > 0)
    return lib.where(valid, part / lib.where(valid, whole, lib.ones_like(whole)), lib.zeros_like(part))


def _pairwise(lib: Any, a: Any, b: Any, generalised: bool) -> Any:
    a, b = a[:, :, None], b[:, None]
    inside = _area(lib, lib.maximum(a[..., :2], b[..., :2]), lib.minimum(a[..., 2:], b[..., 2:]))
    union = _area(lib, a[..., :2], a[..., 2:]) + _area(lib, b[..., :2], b[..., 2:]) - inside
    found = _quotient(lib, inside, union, union == union)
    if generalised:
        hull = _area(lib, lib.minimum(a[..., :2], b[..., :2]), lib.maximum(a[..., 2:], b[..., 2:]))
        found = found - _quotient(lib, hull - union, hull, union == union)
    return found


pairwise_iou.reference(lambda a, b, *, generalised: _pairwise(np, a, b, generalised))
pairwise_iou.torch(lambda t, a, b, *, generalised: _pairwise(t, a, b, generalised))


@pairwise_iou.onnx
def _(e: Any, a: Any, b: Any, *, generalised: bool) -> Any:
    zero = e.constant(np.float32(0))
    a, b = e.Unsqueeze(a, e.sizes((2,))), e.Unsqueeze(b, e.sizes((1,)))

    def area(low: Any, high: Any) -> Any:
        return e.ReduceProd(e.Relu(e.Sub(high, low)), e.sizes((-1,)), keepdims=0)

    def quotient(part: Any, whole: Any) -> Any:
        solid = e.Greater(whole, zero)
        return e.Where(solid, e.Div(part, e.Where(solid, whole, e.constant(np.float32(1)))), zero)

    (low_a, high_a), (low_b, high_b) = (e.Split(x, axis=-1, num_outputs=2) for x in (a, b))
    inside = area(e.Max(low_a, low_b), e.Min(high_a, high_b))
    union = e.Sub(e.Add(area(low_a, high_a), area(low_b, high_b)), inside)
    found = quotient(inside, union)
    if not generalised:
        return found
    hull = area(e.Min(low_a, low_b), e.Max(high_a, high_b))
    return e.Sub(found, quotient(e.Sub(hull, union), hull))


pairwise_iou.native("pairwise_iou")


@pairwise_iou.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (random_boxes(rng, 2, 5), random_boxes(rng, 2, 3)), {}
    yield (random_boxes(rng, 2, 5), random_boxes(rng, 2, 3)), {"generalised": True}
    yield (random_boxes(rng, 1, 2), np.zeros((1, 1, 4), np.float32)), {"generalised": True}


@op("boxes<xyxy,F>[N A 4], boxes<xyxy,F>[N G 4], i64[N] -> f[N A]", TRAIN, FP32)
def largest_overlap(boxes: Value, others: Value, count: Value, *, of: str = "union") -> Value:
    """The largest overlap of each box with the first `count` others of its image; 0 where there are none.

    The area of both in shares of their union (IoU), or of the box itself (of="box"), at least 1e-6.
    """
    ...


def _largest(lib: Any, boxes: Any, others: Any, real: Any, of: str) -> Any:
    a, b = boxes[:, :, None], others[:, None]
    inside = _area(lib, lib.maximum(a[..., :2], b[..., :2]), lib.minimum(a[..., 2:], b[..., 2:]))
    whole = _area(lib, a[..., :2], a[..., 2:])
    if of == "union":
        whole = whole + _area(lib, b[..., :2], b[..., 2:]) - inside
    least = lib.full_like(whole, 1e-6)
    return lib.where(real[:, None], inside / lib.where(whole > least, whole, least), lib.zeros_like(inside))


@largest_overlap.infer
def _(boxes: Type, others: Type, count: Type, *, of: str) -> Type:
    if of not in ("union", "box"):
        raise BadAttribute(f"an overlap is a share of 'union' or of 'box', not of {of!r}", about="of")
    return tensor(boxes.dtype, *boxes.dims[:2])


@largest_overlap.reference
def _(boxes: Any, others: Any, count: Any, *, of: str) -> Any:
    real = np.arange(others.shape[1])[None] < count[:, None]
    return _largest(np, boxes, others, real, of).max(2, initial=0)


@largest_overlap.torch
def _(t: Any, boxes: Any, others: Any, count: Any, *, of: str) -> Any:
    if not others.shape[1]:
        return boxes.new_zeros(boxes.shape[:2])
    real = t.arange(others.shape[1], device=count.device)[None] < count[:, None]
    return _largest(t, boxes, others, real, of).amax(2)


@largest_overlap.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    for of in ("union", "box"):
        yield (random_boxes(rng, 2, 9), random_boxes(rng, 2, 3), np.asarray([3, 1])), {"of": of}
    yield (random_boxes(rng, 2, 9), random_boxes(rng, 2, 3), np.asarray([0, 3])), {}
    yield (random_boxes(rng, 2, 9), random_boxes(rng, 2, 0), np.asarray([0, 0])), {}
    yield (np.zeros((1, 2, 4), np.float32), random_boxes(rng, 1, 2), np.asarray([2])), {"of": "box"}


_PAIR = "boxes<xyxy,F>[*S 4], boxes<xyxy,F>[*S 4] -> f[*S]"


@op(_PAIR, FP32)
def distance_iou(a: Value, b: Value, *, eps: float = 1e-6) -> Value:
    """IoU of corresponding boxes, less their distance (Zheng et al. 2020, arXiv:1911.08287, eq. 7).

    The distance is that of the centres, squared, over the squared diagonal of the box around both. `eps` is added to
    union and diagonal.
    """
    ...


def _distance(lib: Any, a: Any, b: Any, eps: float) -> Any:
    inside = _area(lib, lib.maximum(a[..., :2], b[..., :2]), lib.minimum(a[..., 2:], b[..., 2:]))
    union = _area(lib, a[..., :2], a[..., 2:]) + _area(lib, b[..., :2], b[..., 2:]) - inside
    hull = lib.maximum(a[..., 2:], b[..., 2:]) - lib.minimum(a[..., :2], b[..., :2])
    apart = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    return inside / (union + eps) - (apart * apart).sum(-1) / ((hull * hull).sum(-1) + eps)


distance_iou.reference(lambda a, b, *, eps: _distance(np, a, b, eps).astype(a.dtype))
distance_iou.torch(lambda t, a, b, *, eps: _distance(t, a, b, eps))
distance_iou.no("onnx", "only losses need it")


@op(_PAIR, FP32)
def aspect_gap(a: Value, b: Value, *, eps: float = 1e-6) -> Value:
    """How much the shapes of corresponding boxes differ, 0..1 (Zheng et al. 2020, arXiv:1911.08287, eq. 9).

    4 / pi^2 (atan(w_b / h_b) - atan(w_a / h_a))^2, with `eps` added to the heights.
    """
    ...


def _gap(lib: Any, a: Any, b: Any, eps: float) -> Any:
    lean = [lib.arctan((x[..., 2] - x[..., 0]) / (x[..., 3] - x[..., 1] + eps)) for x in (a, b)]
    return 4 / math.pi**2 * (lean[1] - lean[0]) ** 2


aspect_gap.reference(lambda a, b, *, eps: _gap(np, a, b, eps).astype(a.dtype))
aspect_gap.torch(lambda t, a, b, *, eps: _gap(t, a, b, eps))
aspect_gap.no("onnx", "only losses need it")


@distance_iou.examples
@aspect_gap.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    boxes = random_boxes(rng, 2, 6)
    yield (boxes, random_boxes(rng, 2, 6)), {}
    yield (boxes, boxes + rng.uniform(-0.4, 0.4, (2, 6, 4)).astype(np.float32)), {}
    yield (random_boxes(rng, 0), random_boxes(rng, 0)), {}
