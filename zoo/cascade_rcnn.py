"""Cascade R-CNN: each head learns from the boxes of the one before (Cai and Vasconcelos 2018, arXiv:1712.00726)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Image, Value, detector, scope, within
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import rcnn
from graphdet.zoo.parts.cascade import STAGES, cascade
from graphdet.zoo.parts.rows import rows
from graphdet.zoo.parts.rpn import rpn

VARIANTS = rows(  # box AP on COCO val2017 as the reference reports it for its 1x schedule
    "cascade_rcnn_{}",
    "cascade_rcnn/cascade_rcnn_{}_fpn_1x_coco.py",
    {"r50": 40.3, "r50_caffe": 40.4, "r101": 42.0, "r101_caffe": 42.3, "x101_32x4d": 43.7, "x101_64x4d": 44.7},
)


@detector(VARIANTS)
def cascade_rcnn(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, width: int = 256
) -> Detector:
    """Propose up to 1000 boxes an image; three heads move them one after another, and classify them together."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    first = rpn(levels, width)
    boxes, _, _, count = first.proposals(image.size, keep=(2000, 1000))
    with scope("roi_head"):
        heads = [rcnn.box_head(levels[:4], num_classes, kinds=1) for _ in STAGES]
        stages = cascade(image, boxes, count, heads, num_classes)
    return Detector(
        detections=rcnn.detect(image, stages.boxes, count, stages.logits, stages.deltas, num_classes, STAGES[-1].stds),
        losses={
            **first.losses(image, first.anchors_inside(image), lambda error: ops.smooth_l1(error, beta=1 / 9)),
            **stages.losses,
        },
    )
