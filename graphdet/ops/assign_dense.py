"""Assignment for detectors with one prior a cell: by place and size (FCOS), by nearness and overlap (ATSS). Train-only.

Operands and results are those of `match_iou`: padded truth, labels (background: classes, ignored: -1), matched boxes,
positive mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, TRAIN, Positive, op
from graphdet.ops.assign import TRUTH, np_iou, random_truth, torch_iou
from graphdet.ops.math import Example

_FOUND = "i64[N A], boxes<xyxy,net>[N A 4], b[N A]"


@op(f"points<net>[A 4], {TRUTH} -> {_FOUND}", TRAIN, FP32)
def match_points(
    points: Value, boxes: Value, labels: Value, count: Value,
    *, classes: Positive, reach: float = 8.0, radius: float = 0.0,
) -> tuple[Value, Value, Value]:  # fmt: skip
    """Assignment of points by place and size (Tian et al. 2019, FCOS, sec. 3.2): labels, matched boxes, positive mask.

    A point takes the smallest box (the first of equals) that it lies in and whose farthest side is reach / 2 .. reach
    strides away; the finest level also takes smaller ones, the coarsest also larger ones. With `radius`, it must lie
    within that many strides of the box's centre too. All others are background, matched to their own cell.
    """
    ...


_NEVER = np.float32(1e8)


def _suits(lib: Any, points: Any, boxes: Any, reach: float, radius: float) -> Any:
    """Whether each box [N 1 G 4] may be learnt by each point [A 1 4], as b[N A G]."""
    place, stride = points[..., :2], points[..., 2:3]
    low, high = boxes[..., :2], boxes[..., 2:]
    far = lib.maximum(place - low, high - place)
    far = lib.maximum(far[..., 0], far[..., 1])
    limit = reach * stride[..., 0]
    fits = ((far >= limit / 2) | (stride[..., 0] <= points[..., 2].min())) & (
        (far <= limit) | (stride[..., 0] >= points[..., 2].max())
    )
    if radius:
        centre = (low + high) / 2
        low, high = lib.maximum(low, centre - stride * radius), lib.minimum(high, centre + stride * radius)
    near = lib.minimum(place - low, high - place)
    return fits & (lib.minimum(near[..., 0], near[..., 1]) > 0)


def _cells(lib: Any, points: Any) -> Any:
    """The box of each point's cell."""
    half = points[..., 2:] / 2
    join = np.concatenate if lib is np else lib.cat
    return join([points[..., :2] - half, points[..., :2] + half], -1)


@match_points.reference
def _(points: Any, boxes: Any, labels: Any, count: Any, *, classes: int, reach: float, radius: float) -> Any:
    n, a = len(boxes), len(points)
    out_labels, mask = np.full((n, a), classes, np.int64), np.zeros((n, a), bool)
    out_boxes = np.broadcast_to(_cells(np, points), (n, a, 4)).copy()
    for i in range(n):
        truth = boxes[i, : count[i]]
        if not len(truth) or not a:
            continue
        suits = _suits(np, points[:, None], truth[None], reach, radius)
        area = np.where(suits, (truth[:, 2:] - truth[:, :2]).prod(1), _NEVER)
        owner, mask[i] = area.argmin(1), area.min(1) < _NEVER
        out_labels[i][mask[i]], out_boxes[i][mask[i]] = labels[i][owner[mask[i]]], truth[owner[mask[i]]]
    return out_labels, out_boxes, mask


@match_points.torch
def _(t: Any, points: Any, boxes: Any, labels: Any, count: Any, *, classes: int, reach: float, radius: float) -> Any:
    n, g = labels.shape
    a = len(points)
    cells = _cells(t, points).expand(n, a, 4)
    with t.no_grad():
        if not g or not a:
            mask = t.zeros((n, a), dtype=t.bool, device=boxes.device)
            return labels.new_full((n, a), classes), cells, mask
        real = t.arange(g, device=boxes.device) < count[:, None]
        suits = _suits(t, points[:, None], boxes[:, None], reach, radius) & real[:, None]
        extent = boxes[..., 2:] - boxes[..., :2]
        area, owner = t.where(suits, (extent[..., 0] * extent[..., 1])[:, None], _NEVER.item()).min(2)
        return _assigned(t, owner, area < _NEVER.item(), cells, boxes, labels, classes)


def _assigned(t: Any, owner: Any, mask: Any, others: Any, boxes: Any, labels: Any, other: Any) -> tuple[Any, Any, Any]:
    """The results, from each prior's object and whether it has one."""
    matched = boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    return t.where(mask, labels.gather(1, owner), other), t.where(mask[..., None], matched, others), mask


def _grid(sizes: tuple[tuple[int, int], ...]) -> Any:
    """Points of square levels (cells a side, stride)."""
    levels = []
    for side, stride in sizes:
        y, x = (np.mgrid[0:side, 0:side] + 0.5) * stride
        levels.append(np.stack([x, y, x * 0 + stride, x * 0 + stride], -1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


@match_points.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    points = _grid(((8, 8), (4, 16), (2, 32)))
    for counts in ((4, 2), (0, 3)):
        yield (points, *random_truth(rng, 2, 4, 3, counts)), {"classes": 3, "reach": 2.0}
    yield (points, *random_truth(rng, 2, 4, 3, (4, 1))), {"classes": 3, "reach": 2.0, "radius": 1.5}
    yield (points, *random_truth(rng, 2, 0, 3, (0, 0))), {"classes": 3}


@op(f"points<net>[A 4], b[N A], {TRUTH} -> {_FOUND}", TRAIN, FP32)
def match_atss(
    points: Value, inside: Value, boxes: Value, labels: Value, count: Value,
    *, classes: Positive, scale: float = 8.0, candidates: Positive = 9,
) -> tuple[Value, Value, Value]:  # fmt: skip
    """Adaptive training sample selection (Zhang et al. 2020, ATSS, alg. 1): labels, matched boxes, positive mask.

    Anchors are squares of `scale` strides around the points; points of one stride are a level. An object's candidates
    are the nearest points to its centre, so many of each level. Those are positive that lie in it (by more than 0.01
    pixels) and whose anchor's IoU reaches the mean plus the standard deviation of the candidates' IoUs. A point wanted
    twice takes the object of larger IoU. All others are background, outside the image ignored, and matched to their
    anchor.
    """
    ...


def _anchors(lib: Any, points: Any, scale: float) -> Any:
    half = points[..., 2:] * (scale / 2)
    join = np.concatenate if lib is np else lib.cat
    return join([points[..., :2] - half, points[..., :2] + half], -1)


@match_atss.reference
def _(
    points: Any, inside: Any, boxes: Any, labels: Any, count: Any, *, classes: int, scale: float, candidates: int
) -> Any:
    n, a = inside.shape
    anchors = _anchors(np, points, scale)
    out_labels, mask = np.where(inside, classes, -1), np.zeros((n, a), bool)
    out_boxes = np.broadcast_to(anchors, (n, a, 4)).copy()
    for i in range(n):
        best = np.full(a, -1.0)
        overlap = np_iou(anchors, boxes[i, : count[i]])
        for j in range(count[i]):
            low, high = boxes[i, j, :2], boxes[i, j, 2:]
            far = np.where(inside[i], np.square(points[:, :2] - (low + high) / 2).sum(1), np.inf)
            near = _nearest(far, points[:, 2], candidates)
            limit = overlap[near, j].mean() + overlap[near, j].std(ddof=1) if len(near) > 1 else np.nan
            deep = np.minimum(points[near, :2] - low, high - points[near, :2]).min(1) > np.float32(0.01)
            chosen = near[deep & (overlap[near, j] >= limit)]
            chosen = chosen[overlap[chosen, j] > best[chosen]]
            best[chosen], mask[i, chosen] = overlap[chosen, j], True
            out_labels[i, chosen], out_boxes[i, chosen] = labels[i, j], boxes[i, j]
    return out_labels, out_boxes, mask


def _nearest(far: Any, level: Any, candidates: int) -> Any:
    """Places of the least distances of each level, infinite ones left out."""
    found = []
    for stride in np.unique(level):
        places = np.flatnonzero(level == stride)
        found.append(places[np.argsort(far[places], kind="stable")[:candidates]])
    near = np.concatenate([*found, np.zeros(0, np.int64)]).astype(np.int64)
    return near[np.isfinite(far[near])]


@match_atss.torch
def _(
    t: Any,
    points: Any,
    inside: Any,
    boxes: Any,
    labels: Any,
    count: Any,
    *,
    classes: int,
    scale: float,
    candidates: int,
) -> Any:
    (n, a), g = inside.shape, labels.shape[1]
    anchors = _anchors(t, points, scale)
    others = t.where(inside, classes, -1)
    with t.no_grad():
        if not g or not a:
            return others, anchors.expand(n, a, 4), t.zeros_like(inside)
        overlap = torch_iou(t, anchors[None], boxes)
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        far = (points[:, None, :2] - centre[:, None]).square().sum(-1)
        near = _torch_nearest(t, far.masked_fill(~inside[..., None], t.inf), points[:, 2], candidates)
        total = near.sum(1, keepdim=True)
        mean = (overlap * near).sum(1, keepdim=True) / total
        spread = ((overlap - mean).square() * near).sum(1, keepdim=True) / (total - 1)
        deep = t.minimum(points[:, None, :2] - boxes[:, None, :, :2], boxes[:, None, :, 2:] - points[:, None, :2])
        real = (t.arange(g, device=boxes.device) < count[:, None])[:, None]
        suits = near & (deep.amin(-1) > 0.01) & (overlap >= mean + spread.sqrt()) & real
        best, owner = overlap.masked_fill(~suits, -1.0).max(2)
        return _assigned(t, owner, best >= 0, anchors, boxes, labels, others)


def _torch_nearest(t: Any, far: Any, level: Any, candidates: int) -> Any:
    """Which of [N A G] are among the least finite distances of their level."""
    near = t.zeros_like(far, dtype=t.bool)
    for stride in level.unique():
        places = (level == stride).nonzero()[:, 0]
        part = far[:, places]
        order = part.topk(min(candidates, len(places)), 1, largest=False).indices
        near[:, places] = t.zeros_like(part, dtype=t.bool).scatter(1, order, True)
    return near & far.isfinite()


@match_atss.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    points = _grid(((8, 8), (4, 16), (2, 32)))
    inside = rng.random((2, len(points))) > 0.1
    for counts in ((4, 2), (0, 3)):
        yield (points, inside, *random_truth(rng, 2, 4, 3, counts)), {"classes": 3, "scale": 2.0}
    yield (points, inside, *random_truth(rng, 2, 4, 3, (4, 1))), {"classes": 3, "candidates": 2, "scale": 4.0}
    yield (points, inside, *random_truth(rng, 2, 0, 3, (0, 0))), {"classes": 3}


@op(f"points<net>[A 4], boxes<xyxy,net>[A 4], {TRUTH} -> {_FOUND}", TRAIN, FP32)
def match_grid(
    points: Value, anchors: Value, boxes: Value, labels: Value, count: Value,
    *, classes: Positive, positive: float = 0.5, negative: float = 0.5,
) -> tuple[Value, Value, Value]:  # fmt: skip
    """Assignment of the anchors of the cell that holds an object's centre (Redmon and Farhadi 2018, YOLOv3, sec. 2.1).

    Labels, matched boxes, positive mask. points: the first corner of each anchor's cell, and its stride. An anchor of a
    cell that holds any object's centre takes the object of largest IoU if that exceeds `positive`; every object also
    claims those of them with its own largest IoU (a later object wins). Others are background up to an IoU of
    `negative`, else ignored, and matched to themselves.
    """
    ...


@match_grid.reference
def _(
    points: Any, anchors: Any, boxes: Any, labels: Any, count: Any, *, classes: int, positive: float, negative: float
) -> Any:
    n, a = len(boxes), len(points)
    out_labels, out_boxes = np.full((n, a), classes, np.int64), np.broadcast_to(anchors, (n, a, 4)).copy()
    mask = np.zeros((n, a), bool)
    for i in range(n):
        truth = boxes[i, : count[i]]
        if not len(truth) or not a:
            continue
        cells = np.floor((truth[:, :2] + truth[:, 2:]) / 2 / points[:, None, 2:])
        busy = (np.floor(points[:, None, :2] / points[:, None, 2:]) == cells).all(-1).any(1)
        overlap = np_iou(anchors, truth)
        out_labels[i][overlap.max(1) > negative] = -1
        overlap = np.where(busy[:, None], overlap, -1)
        owner = np.where(overlap.max(1) > positive, overlap.argmax(1), -1)
        for j in range(len(truth)):
            if overlap[:, j].max() > 0:
                owner[overlap[:, j] == overlap[:, j].max()] = j
        mask[i] = owner >= 0
        out_labels[i][mask[i]], out_boxes[i][mask[i]] = labels[i][owner[mask[i]]], truth[owner[mask[i]]]
    return out_labels, out_boxes, mask


@match_grid.torch
def _(
    t: Any, points: Any, anchors: Any, boxes: Any, labels: Any, count: Any,
    *, classes: int, positive: float, negative: float,
) -> Any:  # fmt: skip
    n, g = labels.shape
    a = len(points)
    with t.no_grad():
        if not g or not a:
            mask = t.zeros((n, a), dtype=t.bool, device=boxes.device)
            return labels.new_full((n, a), classes), anchors.expand(n, a, 4), mask
        places = t.arange(g, device=boxes.device)
        real = (places < count[:, None])[:, None]
        stride = points[None, :, None, 2:]
        cells = ((boxes[..., :2] + boxes[..., 2:]) / 2)[:, None] / stride
        busy = ((points[None, :, None, :2] / stride).floor() == cells.floor()).all(-1) & real
        overlap = torch_iou(t, anchors[None], boxes).masked_fill(~real, -1.0)
        others = t.where(overlap.amax(2) > negative, -1, classes)
        overlap = overlap.masked_fill(~busy.any(2, keepdim=True), -1.0)
        top, owner = overlap.max(2)
        peak = overlap.amax(1, keepdim=True)
        claimed = t.where((overlap == peak) & (peak > 0), places, -1).amax(2)
        owner = t.where(claimed >= 0, claimed, t.where(top > positive, owner, -1))
        return _assigned(t, owner.clamp(min=0), owner >= 0, anchors, boxes, labels, others)


@match_grid.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    cells = np.repeat(_grid(((8, 8), (4, 16))), 2, 0)
    corner = np.concatenate([cells[:, :2] - cells[:, 2:] / 2, cells[:, 2:]], -1)
    half = np.tile(np.asarray([[6, 9], [14, 10]], np.float32), (len(cells) // 2, 1))
    anchors = np.concatenate([cells[:, :2] - half, cells[:, :2] + half], -1)
    for counts in ((4, 2), (0, 3)):
        yield (corner, anchors, *random_truth(rng, 2, 4, 3, counts)), {"classes": 3, "positive": 0.3, "negative": 0.3}
    yield (corner, anchors, *random_truth(rng, 2, 0, 3, (0, 0))), {"classes": 3}
