"""Assignment of ground truth to priors: which prior learns which object. Train-only; no gradient flows through.

All work on padded batches: truth boxes [N G 4], labels [N G], count [N]; rows past the count do not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, TRAIN, Positive, op
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example, stable_sigmoid

TRUTH = "boxes<xyxy,net>[N G 4], i64[N G], i64[N]"


@op(f"boxes<xyxy,net>[*S 4], b[N A], {TRUTH} -> i64[N A], boxes<xyxy,net>[N A 4], b[N A], i64[N A]", TRAIN, FP32)
def match_iou(
    anchors: Value,
    inside: Value,
    boxes: Value,
    labels: Value,
    count: Value,
    *,
    positive: float,
    negative: float,
    classes: Positive,
    claim: float = 0.0,
    ties: bool = True,
) -> tuple[Value, Value, Value, Value]:
    """Assignment of anchors by IoU (Ren et al. 2015, sec. 3.1.2): labels, matched boxes, positive mask, object numbers.

    Anchors are those of all images, or of each its own. One takes the object of largest IoU if that is at least
    `positive`; below `negative` it is background (label = classes); in between, and outside the image, it is ignored
    (label -1). Every object also claims the anchors of its own largest IoU, if that is at least `claim` (above 1, none
    does; without `ties` only the first of them); a later object wins. Anchors that are not positive are matched to
    themselves, so that their codes are zero, and have object number 0.
    """
    ...


def np_iou(a: Any, b: Any) -> Any:
    """Pairwise IoU [A G]; the union is at least 1e-6."""
    extent = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0)
    inside = extent[..., 0] * extent[..., 1]
    area = [(x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b)]
    return inside / np.maximum(area[0][:, None] + area[1] - inside, np.float32(1e-6))


@match_iou.reference
def _(
    anchors: Any, inside: Any, boxes: Any, labels: Any, count: Any,
    *, positive: float, negative: float, classes: int, claim: float, ties: bool,
) -> Any:  # fmt: skip
    n, a = inside.shape
    anchors = np.broadcast_to(anchors, (n, a, 4))
    out_labels, out_boxes, mask = np.full((n, a), -1, np.int64), anchors.copy(), np.zeros((n, a), bool)
    number = np.zeros((n, a), np.int64)
    for i in range(n):
        owner = np.full(a, -1)
        if count[i] == 0:
            out_labels[i][inside[i]] = classes
            continue
        overlap = np_iou(anchors[i], boxes[i, : count[i]])
        overlap[~inside[i]] = -1
        top = overlap.max(1)
        out_labels[i][inside[i] & (top < negative)] = classes
        owner = np.where(top >= positive, overlap.argmax(1), owner)
        for j in range(count[i]):
            if overlap[:, j].max(initial=-1) >= claim:
                first = np.arange(a) == overlap[:, j].argmax()
                owner[inside[i] & ((overlap[:, j] == overlap[:, j].max()) if ties else first)] = j
        mask[i] = owner >= 0
        out_labels[i][mask[i]] = labels[i][owner[mask[i]]]
        out_boxes[i][mask[i]] = boxes[i][owner[mask[i]]]
        number[i][mask[i]] = owner[mask[i]]
    return out_labels, out_boxes, mask, number


LIMIT = 2**24  # pairs of an anchor and an object that are compared at a time: half a gigabyte


@match_iou.torch
def _(
    t: Any,
    anchors: Any,
    inside: Any,
    boxes: Any,
    labels: Any,
    count: Any,
    *,
    positive: float,
    negative: float,
    classes: int,
    claim: float,
    ties: bool,
) -> Any:
    with t.no_grad():
        n, a = inside.shape
        anchors = anchors if anchors.dim() == 3 else anchors[None]
        real = t.arange(boxes.shape[1], device=boxes.device)[None] < count[:, None]
        if boxes.shape[1] == 0:
            background = t.where(inside, classes, -1)
            return background, anchors.expand(n, a, 4), t.zeros_like(inside), t.zeros_like(inside, dtype=t.int64)
        top, owner, claimed = boxes.new_full((n, a), -1.0), labels.new_zeros((n, a)), labels.new_full((n, a), -1)
        step = max(1, LIMIT // max(1, n * a))
        for start in range(0, boxes.shape[1], step):
            some = slice(start, start + step)
            overlap = torch_iou(t, anchors, boxes[:, some])
            overlap = overlap.masked_fill(~(inside[:, :, None] & real[:, None, some]), -1.0)
            best, which = overlap.max(2)
            owner = t.where(best > top, which + start, owner)
            top = t.maximum(top, best)
            peak = overlap.amax(1, keepdim=True)
            highest = overlap == peak
            if not ties:
                highest = t.zeros_like(highest).scatter(1, overlap.argmax(1, keepdim=True), True)
            claims = highest & (peak >= claim) & inside[:, :, None]
            numbers = t.arange(start, start + overlap.shape[2], device=boxes.device)
            claimed = t.maximum(claimed, t.where(claims, numbers, -1).amax(2))
        owner = t.where(claimed >= 0, claimed, t.where(top >= positive, owner, -1))
        mask = owner >= 0
        index = owner.clamp(min=0)
        found = t.where(mask, labels.gather(1, index), t.where(inside & (top < negative), classes, -1))
        matched = t.where(mask[..., None], boxes.gather(1, index[..., None].expand(-1, -1, 4)), anchors)
        return found, matched, mask, index


def torch_iou(t: Any, a: Any, b: Any) -> Any:
    """Pairwise IoU [N A G] of a [N A 4] (or [1 A 4]) and b [N G 4]."""
    low, high = t.maximum(a[:, :, None, :2], b[:, None, :, :2]), t.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    extent = (high - low).clamp(min=0)
    inside = extent[..., 0] * extent[..., 1]
    area = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    return inside / (area[0][:, :, None] + area[1][:, None, :] - inside).clamp(min=1e-6)


def random_truth(rng: np.random.Generator, n: int, g: int, classes: int, counts: tuple[int, ...]) -> tuple[Any, ...]:
    """Padded truth for examples."""
    return random_boxes(rng, n, g), rng.integers(0, classes, (n, g)), np.asarray(counts)


@match_iou.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    settings = {"positive": 0.5, "negative": 0.4, "classes": 3}
    inside = rng.random((2, 40)) > 0.2
    yield (random_boxes(rng, 40), inside, *random_truth(rng, 2, 4, 3, (4, 2))), settings
    yield (random_boxes(rng, 40), inside, *random_truth(rng, 2, 4, 3, (0, 3))), settings
    yield (random_boxes(rng, 40), inside, *random_truth(rng, 2, 0, 3, (0, 0))), settings
    yield (random_boxes(rng, 2, 40), inside, *random_truth(rng, 2, 4, 3, (4, 2))), {**settings, "claim": 2.0}
    yield (random_boxes(rng, 40), inside, *random_truth(rng, 2, 4, 3, (4, 2))), {**settings, "claim": 0.3}
    same = np.repeat(random_boxes(rng, 20), 2, 0)
    yield (same, inside, *random_truth(rng, 2, 4, 3, (4, 2))), {**settings, "ties": False}


@op("boxes<xyxy,net>[A 4], f[N 2] -> b[N A]", TRAIN)
def boxes_inside(boxes: Value, size: Value) -> Value:
    """Whether boxes lie wholly inside each unpadded image; size rows are (height, width)."""
    ...


@boxes_inside.reference
def _(boxes: Any, size: Any) -> Any:
    return (boxes[:, :2] >= 0).all(-1)[None] & (boxes[None, :, 2:] < size[:, None, ::-1]).all(-1)


@boxes_inside.torch
def _(t: Any, boxes: Any, size: Any) -> Any:
    return (boxes[:, :2] >= 0).all(-1)[None] & (boxes[None, :, 2:] < size[:, [1, 0]][:, None]).all(-1)


@boxes_inside.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (random_boxes(rng, 9) - 5, np.asarray([[60, 70], [30, 90]], np.float32)), {}


@op(
    f"points<net>[A 4], boxes<xyxy,net>[N A 4], logits[N A C], logits[N A], {TRUTH} -> "
    "i64[N A], boxes<xyxy,net>[N A 4], f[N A]",
    TRAIN,
    FP32,
)
def match_simota(
    points: Value, predicted: Value, logits: Value, objectness: Value, boxes: Value, labels: Value, count: Value,
    *, radius: float = 2.5, candidates: Positive = 10, iou_weight: float = 3.0,
) -> tuple[Value, Value, Value]:  # fmt: skip
    """Dynamic-k assignment by cost (Ge et al. 2021, SimOTA): labels (-1: none), matched boxes, IoU with them.

    A point (cell centre) is a candidate if it lies in any object's box or within `radius` strides of its centre. Cost:
    classification (BCE of sqrt(class score x objectness)) + iou_weight * -log IoU, far larger unless the point is in
    both box and centre region. An object takes its k cheapest points, k = the sum of its `candidates` largest IoUs, at
    least 1; a point wanted twice goes to the cheaper object. Unassigned points keep their predicted box and IoU 0.
    """
    ...


_FAR = 100000.0  # added in float64: in float32 it would swallow the differences that rank far candidates


@match_simota.reference
def _(
    points: Any,
    predicted: Any,
    logits: Any,
    objectness: Any,
    boxes: Any,
    labels: Any,
    count: Any,
    *,
    radius: float,
    candidates: int,
    iou_weight: float,
) -> Any:
    n, a, c = logits.shape
    out_labels, out_boxes, out_iou = np.full((n, a), -1, np.int64), predicted.copy(), np.zeros((n, a), np.float32)
    for i in range(n):
        truth, names = boxes[i, : count[i]], labels[i, : count[i]]
        in_box, in_centre = _regions(points, truth, radius)
        valid = np.flatnonzero((in_box | in_centre).any(1)) if count[i] else np.zeros(0, np.int64)
        if not len(valid):
            continue
        overlap = np_iou(predicted[i, valid], truth)
        p = np.sqrt(stable_sigmoid(logits[i, valid]) * stable_sigmoid(objectness[i, valid])[:, None])
        wanted = np.eye(c)[names]
        p = np.clip(p, 1e-44, None)[:, None]  # log(0) counts as -100, as in torch's binary cross entropy
        bce = -(wanted * np.maximum(np.log(p), -100) + (1 - wanted) * np.maximum(np.log1p(-p), -100)).sum(-1)
        cost = bce - iou_weight * np.log(overlap + 1e-7) + _FAR * ~(in_box & in_centre)[valid]
        taken = np.zeros_like(overlap, bool)
        for j in range(len(truth)):
            k = max(1, int(np.sort(overlap[:, j])[::-1][:candidates].sum()))
            taken[np.argsort(cost[:, j], kind="stable")[:k], j] = True
        twice = taken.sum(1) > 1
        taken[twice] = np.arange(len(truth)) == cost[twice].argmin(1)[:, None]
        rows, owner = np.nonzero(taken)
        out_labels[i, valid[rows]], out_boxes[i, valid[rows]] = names[owner], truth[owner]
        out_iou[i, valid[rows]] = overlap[rows, owner]
    return out_labels, out_boxes, out_iou


def _regions(points: Any, truth: Any, radius: float) -> tuple[Any, Any]:
    """Whether each point's cell centre lies in each box, and in its centre region: two b[A G]."""
    xy, stride = points[:, None, :2] + points[:, None, 2:] * 0.5, points[:, None, 2:]
    in_box = ((xy > truth[:, :2]) & (xy < truth[:, 2:])).all(-1)
    centre = (truth[:, :2] + truth[:, 2:]) / 2
    return in_box, (np.abs(xy - centre) < radius * stride).all(-1)


@match_simota.torch
def _(
    t: Any, points: Any, predicted: Any, logits: Any, objectness: Any, boxes: Any, labels: Any, count: Any,
    *, radius: float, candidates: int, iou_weight: float,
) -> Any:  # fmt: skip
    n, a, _ = logits.shape
    g = boxes.shape[1]
    with t.no_grad(), t.autocast(logits.device.type, enabled=False):
        predicted, logits, objectness = predicted.float(), logits.float(), objectness.float()
        if g == 0:
            return t.full((n, a), -1, device=boxes.device), predicted, predicted.new_zeros((n, a))
        real = (t.arange(g, device=boxes.device)[None] < count[:, None])[:, None]  # [N 1 G]
        xy = (points[:, :2] + points[:, 2:] * 0.5)[None, :, None]
        low, high = boxes[:, None, :, :2], boxes[:, None, :, 2:]
        in_box = ((xy > low) & (xy < high)).all(-1) & real
        in_centre = ((xy - (low + high) / 2).abs() < radius * points[None, :, None, 2:]).all(-1) & real
        valid = (in_box | in_centre).any(2, keepdim=True) & real  # [N A G]
        overlap = t.where(valid, torch_iou(t, predicted, boxes), 0.0)
        near = _torch_class_cost(t, logits, objectness, labels) - iou_weight * (overlap + 1e-7).log()
        cost = near.double() + _FAR * ~(in_box & in_centre)
        cost = t.where(valid, cost, t.inf)
        k = overlap.topk(min(candidates, a), 1).values.sum(1).int().clamp(min=1)  # [N G]
        taken = _torch_cheapest(t, cost, k) & valid
        cheapest = t.nn.functional.one_hot(cost.argmin(2), g).bool()
        taken = t.where(taken.sum(2, keepdim=True) > 1, cheapest, taken)
        mask, owner = taken.any(2), taken.int().argmax(2)
        matched = t.where(mask[..., None], boxes.gather(1, owner[..., None].expand(-1, -1, 4)), predicted)
        return t.where(mask, labels.gather(1, owner), -1), matched, (overlap * taken).sum(2)


def _torch_class_cost(t: Any, logits: Any, objectness: Any, labels: Any) -> Any:
    """Binary cross entropy of the joint scores against each object's one-hot label, [N A G]; no [N A G C] is made."""
    p = (logits.sigmoid() * objectness.sigmoid()[..., None]).sqrt()
    log_p, log_q = p.log().clamp(min=-100), (1 - p).log().clamp(min=-100)
    index = labels[:, None].expand(-1, p.shape[1], -1)
    return -(log_q.sum(2, keepdim=True) + (log_p - log_q).gather(2, index))


def _torch_cheapest(t: Any, cost: Any, k: Any) -> Any:
    """Per object the k points of least cost, as a mask [N A G]."""
    most = int(k.max())
    order = cost.topk(min(most, cost.shape[1]), 1, largest=False).indices
    chosen = t.arange(order.shape[1], device=cost.device)[None, :, None] < k[:, None]
    return t.zeros_like(cost, dtype=t.bool).scatter(1, order, chosen)


@match_simota.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    y, x = np.mgrid[0:8, 0:8]
    points = np.stack([x * 8, y * 8, x * 0 + 8, x * 0 + 8], -1).reshape(-1, 4).astype(np.float32)
    predicted = np.concatenate([points[:, :2], points[:, :2] + 16], -1)[None] + rng.normal(0, 3, (2, 64, 4))
    for counts in ((4, 2), (0, 1), (0, 0)):
        yield (points, predicted.astype(np.float32), (2, 64, 3), (2, 64), *random_truth(rng, 2, 4, 3, counts)), {}
