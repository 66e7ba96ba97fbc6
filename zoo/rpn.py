"""Region proposal network with a feature pyramid: class-agnostic boxes (Ren et al. 2015, arXiv:1506.01497)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Found, Image, Value, detector, setting, within
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts.rows import rows
from graphdet.zoo.parts.rpn import rpn as region_proposals

VARIANTS = rows(
    "rpn_{}",
    "rpn/rpn_{}_fpn_1x_coco.py",
    dict.fromkeys(("r50", "r50_caffe", "r101", "r101_caffe", "x101_32x4d", "x101_64x4d")),
    classes=("object",),
)


@detector(VARIANTS)
def rpn(image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 1, width: int = 256) -> Detector:
    """Predict an objectness and a box offset for three anchors at every cell of P2 .. P6."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    heads = region_proposals(levels, width)
    score_threshold, iou_threshold = setting("score_threshold", 0.0), setting("iou_threshold", 0.7)
    boxes, scores, level, count = heads.proposals(image.size, score_threshold, iou_threshold)
    label = ops.minimum(level, num_classes - 1)  # all are objects; -1 stays padding
    return Detector(
        detections=Found(ops.to_image(boxes, image.geometry), scores, label, count),
        losses=heads.losses(image, heads.anchors_inside(image)),
    )
