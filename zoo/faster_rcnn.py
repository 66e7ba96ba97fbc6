"""Faster R-CNN with a feature pyramid: proposals, then their classes (Ren et al. 2015, arXiv:1506.01497)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Image, Value, detector, scope, share, tap, within
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import rcnn
from graphdet.zoo.parts.rows import rows
from graphdet.zoo.parts.rpn import rpn

VARIANTS = rows(  # box AP on COCO val2017 as the reference reports it for its 1x schedule
    "faster_rcnn_{}",
    "faster_rcnn/faster_rcnn_{}_fpn_1x_coco.py",
    {"r50": 37.4, "r50_caffe": 37.8, "r101": 39.4, "r101_caffe": 39.8, "x101_32x4d": 41.2, "x101_64x4d": 42.1},
)


@detector(VARIANTS)
def faster_rcnn(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, width: int = 256
) -> Detector:
    """Propose up to 1000 boxes an image, then classify and move each by what its bins of P2 .. P5 hold."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    first = rpn(levels, width)
    boxes, _, _, count = first.proposals(image.size)
    with scope("roi_head"), scope("bbox_head"):
        head = share(rcnn.box_head(levels[:4], num_classes))
        said = tap("roi_head.bbox_head", head(boxes, count))
        found = rcnn.detect(image, boxes, *said, num_classes)
        sampled = rcnn.sample(image, boxes, ops.exists(count, boxes), num_classes)
        seen = head(sampled.boxes, sampled.count)
    return Detector(
        detections=found,
        losses={
            **first.losses(image, first.cells_inside(image)),
            **rcnn.losses(sampled, *seen, num_classes, rcnn.offsets()),
        },
    )
