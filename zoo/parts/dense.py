"""What detectors that predict at every cell of a pyramid share: towers, level scales, selection of the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphdet import ops
from graphdet.blocks.conv import group_module
from graphdet.ir import Found, Image, Value, parameter, scope, setting

PRIOR = -math.log(99)  # bias of class predictions, for initial scores of 0.01 (Lin et al. 2017, sec. 4.1)


def tower(kind: str, x: Value, width: int, *, bias: bool = False) -> Value:
    """Four 3x3 convolutions with group norm, as in heads of FCOS and its successors; weights `<kind>_convs.i`."""
    with scope(f"{kind}_convs"):
        for i in range(4):
            x = group_module(str(i), x, width, bias=bias)
    return x


def scaled(level: int, x: Value) -> Value:
    """Multiply by a learnt number of this level, so that levels may share a head (Tian et al. 2019, sec. 3.2)."""
    with scope(f"scales.{level}"):
        return x * parameter("scale", init="constant", value=1.0)


def square(points: Value, strides: float = 8.0) -> Value:
    """Anchors [A 4]: squares of so many strides around points [A 4]."""
    half = ops.concat(points[:, 2:], points[:, 2:], axis=1) * (strides / 2)
    return ops.decode_distances(points, half)


def detect(
    image: Image,
    scores: Sequence[Value],
    boxes: Sequence[Value],
    quality: Sequence[Value] = (),
    *,
    score: float = 0.05,
    iou: float = 0.6,
    keep: int = 100,
) -> Found:
    """The 1000 best (prior, class) entries of each level, then suppression within classes, in the original image.

    scores f32[N A C] and boxes f32[N A 4] a level · quality: scores f32[N A] a level that multiply those of the chosen
    entries, after the threshold.
    """
    threshold = setting("score_threshold", score)
    found = []
    for i, (level, places) in enumerate(zip(scores, boxes, strict=True)):
        top, label, row = ops.select_top(level, threshold, k=1000)
        if quality:
            top = top * ops.gather(quality[i], row)
        found.append((ops.clip_boxes(ops.gather_rows(places, row), image.size), top, label))
    chosen, top, label = (ops.concat(*parts, axis=1) for parts in zip(*found, strict=True))
    kept = ops.nms(chosen, top, label, 0.0, setting("iou_threshold", iou), keep=keep)
    return Found(ops.to_image(kept[0], image.geometry), *kept[1:])


def chosen(image: Image, boxes: Value, scores: Value, labels: Value) -> Found:
    """Chosen rows [N K], best first, as detections without suppression; a score of -1 marks rows that do not exist."""
    real = scores > -0.5
    solid = ops.reshape(real, shape=(*real.shape, 1))
    return Found(
        ops.where(solid, ops.to_image(boxes, image.geometry), 0.0),
        ops.where(real, scores, 0.0),
        ops.where(real, labels, -1),
        ops.total(ops.cast(real, to="i64"), axes=(1,)),
    )
