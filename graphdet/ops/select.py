"""Selection by score: top-k under a threshold, and non-maximum suppression. The runtime's native steps start here.

Selected rows are padded to a fixed bound: a score of -1 marks padding before NMS, a label of -1 after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.dims import minimum
from graphdet.ir.graph import Operand, Value
from graphdet.ir.op import FP32, NATIVE, Natural, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example, stable_sigmoid

_TOP = "-> scores[N min(k,A*C)], labels[N min(k,A*C)], i64[N min(k,A*C)]"


@op(f"scores[N A C], f[] {_TOP}", NATIVE, FP32)
def select_top(scores: Value, threshold: Operand, *, k: Positive) -> tuple[Value, Value, Value]:
    """The k best (row, class) entries of each image whose score exceeds the threshold: scores, labels, row indices.

    Descending; of equal scores the lower flat index comes first; NaN never passes. Places that no entry fills hold
    score -1, label 0, row 0. Thresholds are not negative.
    """
    ...


@select_top.reference
def _(scores: Any, threshold: Any, *, k: int) -> Any:
    n, a, c = scores.shape
    k = min(k, a * c)
    flat = scores.reshape(n, a * c)
    alive = np.where(flat > threshold, flat, np.float32(-1))
    order = np.argsort(-alive, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(alive, order, 1)
    entry = np.where(best >= 0, order, 0)
    return best, entry % max(c, 1), entry // max(c, 1)


@select_top.torch
def _(t: Any, scores: Any, threshold: Any, *, k: int) -> Any:
    n, a, c = scores.shape
    flat = scores.reshape(n, a * c)
    k = min(k, a * c)
    best, entry = flat.new_full((n, k), -1.0), flat.new_zeros((n, k), dtype=t.int64)
    for i in range(n):  # few entries pass the gate, and only those are worth sorting
        alive = (flat[i] > threshold).nonzero().squeeze(1)
        value, order = flat[i][alive].sort(dim=0, descending=True, stable=True)
        count = min(k, len(alive))
        best[i, :count], entry[i, :count] = value[:count], alive[order[:count]]
    return best, entry % max(c, 1), entry // max(c, 1)


@select_top.onnx
def _(e: Any, scores: Any, threshold: Any, *, k: int) -> Any:
    n, a, c = e.type(scores).dims
    flat = e.Reshape(scores, e.sizes((n, a * c)))
    alive = e.Where(e.Greater(flat, threshold), flat, e.constant(np.float32(-1)))
    best, order = e.TopK(alive, e.sizes((minimum(k, a * c),)), axis=1, outputs=2)
    entry = e.Where(e.Less(best, e.constant(np.float32(0))), e.constant(np.int64(0)), order)
    classes = e.size(c)
    return best, e.Mod(entry, classes), e.Div(entry, classes)


select_top.native("select_top", activation="")


@select_top.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.random((2, 9, 3), dtype=np.float32), np.float32(0.4)), {"k": 5}
    yield (rng.random((2, 2, 3), dtype=np.float32), np.float32(0.0)), {"k": 50}
    yield (np.full((1, 4, 2), 0.5, np.float32), np.float32(0.1)), {"k": 3}
    yield (np.zeros((2, 4, 2), np.float32), np.float32(0.5)), {"k": 3}


@op(f"logits[N A C], f[] {_TOP}", NATIVE, FP32)
def select_top_logits(logits: Value, threshold: Operand, *, k: Positive) -> tuple[Value, Value, Value]:
    """`select_top(sigmoid(logits), threshold)`, squashing only what survives. The threshold is a score."""
    ...


@select_top_logits.reference
def _(logits: Any, threshold: Any, *, k: int) -> Any:
    return select_top.rules["reference"](stable_sigmoid(logits).astype(logits.dtype), threshold, k=k)


@select_top_logits.decompose
def _(logits: Value, threshold: Value, *, k: int) -> Any:
    from graphdet.ops.math import sigmoid

    return select_top(sigmoid(logits), threshold, k=k)


select_top_logits.native("select_top", activation="sigmoid")


@select_top_logits.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 9, 3), np.float32(0.4)), {"k": 5}


@op(
    "boxes<xyxy,net>[N K 4], scores[N K], i64[N K], f[], f[] -> "
    "boxes<xyxy,net>[N M 4], scores[N M], labels[N M], i64[N]",
    NATIVE,
    FP32,
)
def nms(
    boxes: Value,
    scores: Value,
    labels: Value,
    score_threshold: Operand,
    iou_threshold: Operand,
    *,
    keep: Natural = 0,
    agnostic: bool = False,
) -> tuple[Value, Value, Value, Value]:
    """Greedy non-maximum suppression per image and class: boxes, scores, labels, count.

    A box passes when its score exceeds `score_threshold` and no kept, higher ranked box of its class (of any class, if
    `agnostic`) overlaps it with an IoU above `iou_threshold`. Rank: score descending, equal scores by index. At most
    `keep` boxes stay (0: all). Rows past `count` hold zeros and label -1. A box without positive width and height never
    passes, nor does a NaN score.
    """
    ...


@nms.infer
def _(boxes: Type, scores: Type, labels: Type, *_: Type, keep: int, agnostic: bool) -> tuple[Type, ...]:
    n, k, _four = boxes.dims
    m = minimum(keep, k) if keep else k
    return (
        boxes.with_dims((n, m, 4)),
        scores.with_dims((n, m)),
        Type("i64", (n, m), "labels"),
        Type("i64", (n,)),
    )


@nms.reference
def _(
    boxes: Any, scores: Any, labels: Any, score_threshold: Any, iou_threshold: Any, *, keep: int, agnostic: bool
) -> Any:
    n, k = scores.shape
    m = min(keep, k) if keep else k
    out = (
        np.zeros((n, m, 4), np.float32),
        np.zeros((n, m), np.float32),
        np.full((n, m), -1, np.int64),
        np.zeros(n, np.int64),
    )
    solid = (boxes[..., 2:] > boxes[..., :2]).all(-1)
    for i in range(n):
        kept: list[int] = []
        for j in np.argsort(-scores[i], kind="stable"):
            if len(kept) == m or not solid[i, j] or not scores[i, j] > score_threshold:
                continue
            rivals = [r for r in kept if agnostic or labels[i, r] == labels[i, j]]
            if not rivals or not (_iou_with(boxes[i, j], boxes[i, rivals]) > iou_threshold).any():
                kept.append(int(j))
        for target, source in zip(out[:3], (boxes, scores, labels), strict=True):
            target[i, : len(kept)] = source[i, kept]
        out[3][i] = len(kept)
    return out


def _iou_with(box: Any, others: Any) -> Any:
    extent = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    inside = extent[:, 0] * extent[:, 1]
    return inside / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - inside)


@nms.torch
def _(
    t: Any, boxes: Any, scores: Any, labels: Any, score_threshold: Any, iou_threshold: Any, *, keep: int, agnostic: bool
) -> Any:
    n, k = scores.shape
    m = min(keep, k) if keep else k
    out = boxes.new_zeros((n, m, 4)), scores.new_zeros((n, m)), labels.new_full((n, m), -1), labels.new_zeros(n)
    for i in range(n):
        order = scores[i].sort(descending=True, stable=True).indices
        order = order[(scores[i][order] > score_threshold) & (boxes[i][order][:, 2:] > boxes[i][order][:, :2]).all(-1)]
        kept = order[_torch_keep(t, boxes[i][order], None if agnostic else labels[i][order], float(iou_threshold), m)]
        count = kept.numel()
        out[0][i, :count], out[1][i, :count], out[2][i, :count] = boxes[i][kept], scores[i][kept], labels[i][kept]
        out[3][i] = count
    return out


def _torch_keep(t: Any, boxes: Any, labels: Any, threshold: float, limit: int) -> Any:
    """Positions of the kept boxes among boxes in rank order; one vectorised sweep a kept box."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive = t.ones(len(boxes), dtype=t.bool, device=boxes.device)
    kept: list[int] = []
    at = 0
    while at < len(boxes) and len(kept) < limit:
        if alive[at]:
            kept.append(at)
            shared = (t.minimum(boxes[at, 2:], boxes[at:, 2:]) - t.maximum(boxes[at, :2], boxes[at:, :2])).clamp(min=0)
            inside = shared[:, 0] * shared[:, 1]
            hit = inside / (area[at] + area[at:] - inside) > threshold
            alive[at:] &= ~hit if labels is None else ~(hit & (labels[at:] == labels[at]))
        at += 1
    return t.tensor(kept, dtype=t.long, device=boxes.device)


@nms.onnx
def _(
    e: Any, boxes: Any, scores: Any, labels: Any, score_threshold: Any, iou_threshold: Any, *, keep: int, agnostic: bool
) -> Any:
    n, k = e.type(scores).dims
    m = minimum(keep, k) if keep else k
    placed = boxes if agnostic else _shift_by_label(e, boxes, labels)
    low, high = e.Split(boxes, axis=-1, num_outputs=2)
    solid = e.Greater(e.ReduceMin(e.Sub(high, low), e.sizes((-1,)), keepdims=0), e.constant(np.float32(0)))
    scores = e.Where(solid, scores, e.constant(np.float32(-1)))
    rows = e.NonMaxSuppression(
        placed, e.Unsqueeze(scores, e.sizes((1,))), e.sizes((k,)), iou_threshold, score_threshold
    )
    cells = e.Gather(rows, e.constant(np.asarray([0, 2])), axis=1)  # (image, box) of every kept box
    hits = e.Expand(e.constant(np.float32(1)), e.Slice(e.Shape(rows), e.sizes((0,)), e.sizes((1,))))
    kept = e.ScatterND(e.Expand(e.constant(np.float32(0)), e.sizes((n, k))), cells, hits)
    rank = e.Where(e.Greater(kept, e.constant(np.float32(0))), scores, e.constant(np.float32(-1)))
    best, order = e.TopK(rank, e.sizes((m,)), axis=1, outputs=2)
    alive = e.Not(e.Less(best, e.constant(np.float32(0))))
    picked = e.GatherND(boxes, e.Unsqueeze(order, e.sizes((-1,))), batch_dims=1)
    found = e.Where(e.Unsqueeze(alive, e.sizes((-1,))), picked, e.constant(np.float32(0)))
    names = e.Where(alive, e.GatherElements(labels, order, axis=1), e.constant(np.int64(-1)))
    count = e.ReduceSum(e.Cast(alive, to=e.dtype("i64")), e.sizes((1,)), keepdims=0)
    return found, e.Where(alive, best, e.constant(np.float32(0))), names, count


def _shift_by_label(e: Any, boxes: Any, labels: Any) -> Any:
    """Boxes of different classes moved apart, by more than the extent of their own image: images stay independent."""
    flat = e.sizes((1, 2))
    extent = e.Sub(e.ReduceMax(boxes, flat, keepdims=1), e.ReduceMin(boxes, flat, keepdims=1))
    step = e.Add(extent, e.constant(np.float32(1)))
    return e.Add(boxes, e.Mul(e.Unsqueeze(e.Cast(labels, to=e.dtype("f32")), e.sizes((-1,))), step))


nms.native("nms")


@nms.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    scores, labels = rng.random((2, 30), dtype=np.float32), rng.integers(0, 3, (2, 30))
    yield (random_boxes(rng, 2, 30), scores, labels, np.float32(0.1), np.float32(0.5)), {"keep": 10}
    yield (random_boxes(rng, 2, 30), scores, labels, np.float32(0.1), np.float32(0.3)), {"keep": 0, "agnostic": True}
    same = np.repeat(random_boxes(rng, 1, 1), 6, 1)
    low = np.float32(0.0), np.float32(0.5)
    yield (same, np.linspace(0.9, 0.2, 6, dtype=np.float32)[None], np.asarray([[0, 0, 1, 1, 0, 2]]), *low), {}
    flat = random_boxes(rng, 1, 6) * np.asarray([1, 1, 1, 0], np.float32)
    yield (flat, np.ones((1, 6), np.float32), np.zeros((1, 6), np.int64), np.float32(0.1), np.float32(0.5)), {}
    yield (random_boxes(rng, 2, 4), np.full((2, 4), -1, np.float32), np.zeros((2, 4), np.int64), *low), {}
