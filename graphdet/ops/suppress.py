"""Relatives of greedy NMS: soft, matrix and fast NMS, with the operands and padded results of `nms`.

Boxes of different classes do not see each other unless `agnostic`. A candidate's score exceeds `score_threshold` and
its box has positive width and height. Rank: score descending, equal scores by index.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import UnknownName, nearest
from graphdet.ir.graph import Operand, Value
from graphdet.ir.op import FP32, NATIVE, Natural, op
from graphdet.ir.types import Type
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example
from graphdet.ops.select import nms

DECAYS = ("linear", "gaussian")
_OUT = "-> boxes<xyxy,net>[N M 4], scores[N M], labels[N M], i64[N]"
_IN = "boxes<xyxy,net>[N K 4], scores[N K], i64[N K], f[]"
Kept = tuple[Value, Value, Value, Value]


def _types(
    boxes: Type, scores: Type, labels: Type, *_: Type, keep: int, agnostic: bool, decay: str = "linear", **__: Any
) -> tuple[Type, ...]:
    if decay not in DECAYS:
        raise UnknownName(
            f"unknown decay {decay!r}; known: {', '.join(DECAYS)}", help=nearest(decay, DECAYS), about="decay"
        )
    results: tuple[Type, ...] = nms.rules["infer"](boxes, scores, labels, keep=keep, agnostic=agnostic)
    return results


def _ious(lib: Any, boxes: Any, labels: Any, agnostic: bool) -> Any:
    """IoU [K K] of all pairs; 0 where the classes differ."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    shared = lib.minimum(high, boxes[None, :, 2:]) - lib.maximum(low, boxes[None, :, :2])
    shared = lib.where(shared > 0, shared, shared * 0)
    inside = shared[..., 0] * shared[..., 1]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found = inside / (area[:, None] + area[None] - inside)
    return found if agnostic else lib.where(labels[:, None] == labels[None], found, found * 0)


def _candidates(boxes: Any, scores: Any, threshold: Any) -> list[int]:
    """Indices of one image's candidates, best first."""
    order = np.argsort(-scores, kind="stable")
    return [int(j) for j in order if scores[j] > threshold and (boxes[j, 2:] > boxes[j, :2]).all()]


def _each_image(rule: Any, boxes: Any, scores: Any, labels: Any, threshold: Any, keep: int, agnostic: bool) -> Any:
    """Padded results of `rule(ious, scores) -> (places among the candidates, scores)`, image by image."""
    n, k = scores.shape
    m = min(keep, k) if keep else k
    out = (
        np.zeros((n, m, 4), np.float32),
        np.zeros((n, m), np.float32),
        np.full((n, m), -1, np.int64),
        np.zeros(n, np.int64),
    )
    for i in range(n):
        rows = np.asarray(_candidates(boxes[i], scores[i], threshold), int)
        ious = _ious(np, boxes[i][rows], labels[i][rows], agnostic)
        places, final = rule(ious, scores[i][rows].copy(), rows)
        kept, count = rows[places[:m]], len(places[:m])
        out[0][i, :count], out[1][i, :count], out[2][i, :count] = boxes[i][kept], final[:m], labels[i][kept]
        out[3][i] = count
    return out


def _torch_each_image(
    t: Any, rule: Any, boxes: Any, scores: Any, labels: Any, threshold: Any, keep: int, agnostic: bool
) -> Any:
    n, k = scores.shape
    m = min(keep, k) if keep else k
    out = boxes.new_zeros((n, m, 4)), scores.new_zeros((n, m)), labels.new_full((n, m), -1), labels.new_zeros(n)
    for i in range(n):
        rows = scores[i].sort(descending=True, stable=True).indices
        rows = rows[(scores[i][rows] > threshold) & (boxes[i][rows][:, 2:] > boxes[i][rows][:, :2]).all(-1)]
        ious = _ious(t, boxes[i][rows], labels[i][rows], agnostic)
        places, final = rule(ious, scores[i][rows].clone(), rows)
        kept, count = rows[places[:m]], len(places[:m])
        out[0][i, :count], out[1][i, :count], out[2][i, :count] = boxes[i][kept], final[:m], labels[i][kept]
        out[3][i] = count
    return out


# --- soft -----------------------------------------------------------------------------------------------------------


@op(f"{_IN}, f[] {_OUT}", NATIVE, FP32)
def soft_nms(
    boxes: Value, scores: Value, labels: Value, score_threshold: Operand, iou_threshold: Operand, *,
    keep: Natural = 0, agnostic: bool = False, decay: str = "linear", sigma: float = 0.5,
) -> Kept:  # fmt: skip
    """Soft-NMS (Bodla et al. 2017): boxes, shrunken scores, labels, count.

    The best remaining box is taken and the others' scores shrink by their IoU with it: linear, times 1 - IoU where that
    exceeds `iou_threshold`; gaussian, times exp(-IoU^2 / sigma). A box whose score no longer exceeds `score_threshold`
    is dropped.
    """
    ...


soft_nms.infer(_types)


def _soft(
    ious: Any, scores: Any, rows: Any, threshold: Any, iou_threshold: Any, decay: str, sigma: Any, exp: Any
) -> Any:
    """Places and scores of the taken boxes; arrays of either library."""
    places: list[int] = []
    final: list[float] = []
    alive = set(range(len(scores)))
    while alive:
        best = min(alive, key=lambda i: (-float(scores[i]), int(rows[i])))
        alive.remove(best)
        places.append(best)
        final.append(float(scores[best]))
        for i in list(alive):
            if decay == "gaussian":
                scores[i] *= exp(-(ious[best, i] ** 2) / sigma)
            elif ious[best, i] > iou_threshold:
                scores[i] *= 1 - ious[best, i]
            if not scores[i] > threshold:
                alive.remove(i)
    return places, final


@soft_nms.reference
def _(*given: Any, decay: str, sigma: float, **limits: Any) -> Any:
    *candidates, iou_threshold = given

    def rule(ious: Any, alive: Any, rows: Any) -> Any:
        return _soft(ious, alive, rows, candidates[3], iou_threshold, decay, np.float32(sigma), np.exp)

    return _each_image(rule, *candidates, **limits)


@soft_nms.torch
def _(t: Any, *given: Any, decay: str, sigma: float, **limits: Any) -> Any:
    *candidates, iou_threshold = given

    def rule(ious: Any, alive: Any, rows: Any) -> Any:
        places, final = _soft(ious, alive, rows, candidates[3], iou_threshold, decay, sigma, t.exp)
        return t.tensor(places, dtype=t.long, device=rows.device), t.tensor(final, device=rows.device)

    return _torch_each_image(t, rule, *candidates, **limits)


soft_nms.no("onnx", "each step depends on the scores that the one before has left, which takes a loop")
soft_nms.native("soft_nms")


def _crowded(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    return random_boxes(rng, 2, 24, extent=40), rng.random((2, 24), dtype=np.float32), rng.integers(0, 2, (2, 24))


@soft_nms.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (*_crowded(rng), np.float32(0.05), np.float32(0.3)), {"keep": 9}
    yield (*_crowded(rng), np.float32(0.05), np.float32(0.3)), {"decay": "gaussian", "agnostic": True}
    yield (
        (
            random_boxes(rng, 2, 3),
            np.full((2, 3), -1, np.float32),
            np.zeros((2, 3), np.int64),
            np.float32(0.0),
            np.float32(0.5),
        ),
        {},
    )


# --- matrix ---------------------------------------------------------------------------------------------------------


@op(f"{_IN} {_OUT}", NATIVE, FP32)
def matrix_nms(
    boxes: Value, scores: Value, labels: Value, score_threshold: Operand, *,
    keep: Natural = 0, agnostic: bool = False, decay: str = "gaussian", sigma: float = 2.0,
) -> Kept:  # fmt: skip
    """Matrix NMS (Wang et al. 2020, SOLOv2): boxes, new scores, labels, count, by new score.

    A score is multiplied by the least, over boxes i of higher rank, of f(IoU with i) / f(largest IoU of i with a box
    above it), at most 1, with f(x) = exp(-sigma x^2) or, linear, 1 - x. Boxes whose new score exceeds `score_threshold`
    stay. For 1 - x, a box i that coincides with one above it is left out.
    """
    ...


matrix_nms.infer(_types)


def _factors(lib: Any, ious: Any, decay: str, sigma: Any, exp: Any) -> Any:
    """What each score is multiplied by, candidates in rank order."""
    above = lib.triu(ious, 1)
    peak = above.max(0) if lib is np else above.amax(0)
    if decay == "gaussian":
        gap = lib.where(ious > 0, above**2 - peak[:, None] ** 2, above * 0)
        return (
            exp(-sigma * lib.where(gap > 0, gap, gap * 0).max(0))
            if lib is np
            else exp(-sigma * gap.clamp(min=0).amax(0))
        )
    open = (lib.triu(lib.ones_like(ious), 1) > 0) & (peak[:, None] < 1) & (above > 0)
    quotient = lib.where(
        open, (1 - above) / lib.where(peak < 1, 1 - peak, lib.ones_like(peak))[:, None], lib.ones_like(above)
    )
    return np.minimum(quotient.min(0), 1) if lib is np else quotient.amin(0).clamp(max=1)


@matrix_nms.reference
def _(*candidates: Any, decay: str, sigma: float, **limits: Any) -> Any:
    def rule(ious: Any, alive: Any, rows: Any) -> Any:
        final = alive * _factors(np, ious, decay, np.float32(sigma), np.exp) if len(rows) else alive
        order = np.lexsort((rows, -final))
        order = order[final[order] > candidates[3]]
        return order, final[order]

    return _each_image(rule, *candidates, **limits)


@matrix_nms.torch
def _(t: Any, *candidates: Any, decay: str, sigma: float, **limits: Any) -> Any:
    def rule(ious: Any, alive: Any, rows: Any) -> Any:
        final = alive * _factors(t, ious, decay, sigma, t.exp) if len(rows) else alive
        by_index = rows.argsort()
        order = by_index[final[by_index].sort(descending=True, stable=True).indices]
        order = order[final[order] > candidates[3]]
        return order, final[order]

    return _torch_each_image(t, rule, *candidates, **limits)


matrix_nms.no("onnx", "the runtime's kernel does it; backends have no operator for it")
matrix_nms.native("matrix_nms")


@matrix_nms.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (*_crowded(rng), np.float32(0.05)), {"keep": 9}
    yield (*_crowded(rng), np.float32(0.05)), {"decay": "linear", "agnostic": True}
    same = np.repeat(random_boxes(rng, 1, 1), 4, 1)
    yield (
        (same, np.linspace(0.9, 0.2, 4, dtype=np.float32)[None], np.asarray([[0, 0, 1, 0]]), np.float32(0.0)),
        {"decay": "linear"},
    )
    yield (random_boxes(rng, 2, 3), np.full((2, 3), -1, np.float32), np.zeros((2, 3), np.int64), np.float32(0.0)), {}


# --- fast -----------------------------------------------------------------------------------------------------------


@op(f"{_IN}, f[] {_OUT}", NATIVE, FP32)
def fast_nms(
    boxes: Value,
    scores: Value,
    labels: Value,
    score_threshold: Operand,
    iou_threshold: Operand,
    *,
    keep: Natural = 0,
    agnostic: bool = False,
) -> Kept:
    """Fast NMS (Bolya et al. 2019, YOLACT): boxes, scores, labels, count.

    A box is dropped when any box of higher rank, dropped itself or not, overlaps it with an IoU above `iou_threshold`.
    """
    ...


fast_nms.infer(_types)


@fast_nms.reference
def _(*given: Any, **limits: Any) -> Any:
    *candidates, iou_threshold = given

    def rule(ious: Any, alive: Any, rows: Any) -> Any:
        places = np.flatnonzero((np.triu(ious, 1) <= iou_threshold).all(0))
        return places, alive[places]

    return _each_image(rule, *candidates, **limits)


@fast_nms.torch
def _(t: Any, *given: Any, **limits: Any) -> Any:
    *candidates, iou_threshold = given

    def rule(ious: Any, alive: Any, rows: Any) -> Any:
        places = (ious.triu(1) <= iou_threshold).all(0).nonzero()[:, 0]
        return places, alive[places]

    return _torch_each_image(t, rule, *candidates, **limits)


fast_nms.no("onnx", "the runtime's kernel does it; backends have no operator for it")
fast_nms.native("fast_nms")


@fast_nms.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (*_crowded(rng), np.float32(0.05), np.float32(0.3)), {"keep": 9}
    yield (*_crowded(rng), np.float32(0.05), np.float32(0.3)), {"agnostic": True}
    yield (
        (
            random_boxes(rng, 2, 3),
            np.full((2, 3), -1, np.float32),
            np.zeros((2, 3), np.int64),
            np.float32(0.0),
            np.float32(0.5),
        ),
        {},
    )
