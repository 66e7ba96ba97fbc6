"""Faster R-CNN with a feature pyramid: proposals, then their classes (Ren et al. 2015, arXiv:1506.01497)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Image, Value, detector, row, scope, share, tap, within
from graphdet.records import Preprocess
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import rcnn
from graphdet.zoo.parts.rpn import rpn

RGB = Preprocess("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (800, 1333), "short_side")
BGR = Preprocess("bgr", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), (800, 1333), "short_side")


def _upstream(body: str) -> str:
    return f"faster_rcnn/faster_rcnn_{body}_fpn_1x_coco.py"


VARIANTS = {  # box AP on COCO val2017 as the reference reports it for its 1x schedule
    "faster_rcnn_r50": row(RGB, ap=37.4, classes=COCO, upstream=_upstream("r50"), body=ResNet(50)),
    "faster_rcnn_r50_caffe": row(
        BGR, ap=37.8, classes=COCO, upstream=_upstream("r50_caffe"), body=ResNet(50, caffe=True)
    ),
    "faster_rcnn_r101": row(RGB, ap=39.4, classes=COCO, upstream=_upstream("r101"), body=ResNet(101)),
    "faster_rcnn_r101_caffe": row(
        BGR, ap=39.8, classes=COCO, upstream=_upstream("r101_caffe"), body=ResNet(101, caffe=True)
    ),
    "faster_rcnn_x101_32x4d": row(
        RGB, ap=41.2, classes=COCO, upstream=_upstream("x101_32x4d"), body=ResNet(101, groups=32, group_width=4)
    ),
    "faster_rcnn_x101_64x4d": row(
        RGB, ap=42.1, classes=COCO, upstream=_upstream("x101_64x4d"), body=ResNet(101, groups=64, group_width=4)
    ),
}


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
        sampled = rcnn.sample(image, boxes, count, num_classes)
        seen = head(sampled.boxes, sampled.count)
    inside = ops.concat(*(ops.cells_inside(p, image.padded, stride=p.stride, per_cell=3) for p in levels), axis=1)
    return Detector(
        detections=found,
        losses={**first.losses(image, inside), **rcnn.losses(sampled, *seen, num_classes)},
    )
