"""Region proposal network with a feature pyramid: class-agnostic boxes (Ren et al. 2015, arXiv:1506.01497)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Found, Image, Value, detector, row, setting, within
from graphdet.records import Preprocess
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts.rpn import rpn as region_proposals

RGB = Preprocess("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (800, 1333), "short_side")
BGR = Preprocess("bgr", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), (800, 1333), "short_side")
OBJECT = ("object",)


def _upstream(body: str) -> str:
    return f"rpn/rpn_{body}_fpn_1x_coco.py"


VARIANTS = {
    "rpn_r50": row(RGB, classes=OBJECT, upstream=_upstream("r50"), body=ResNet(50)),
    "rpn_r50_caffe": row(BGR, classes=OBJECT, upstream=_upstream("r50_caffe"), body=ResNet(50, caffe=True)),
    "rpn_r101": row(RGB, classes=OBJECT, upstream=_upstream("r101"), body=ResNet(101)),
    "rpn_r101_caffe": row(BGR, classes=OBJECT, upstream=_upstream("r101_caffe"), body=ResNet(101, caffe=True)),
    "rpn_x101_32x4d": row(
        RGB, classes=OBJECT, upstream=_upstream("x101_32x4d"), body=ResNet(101, groups=32, group_width=4)
    ),
    "rpn_x101_64x4d": row(
        RGB, classes=OBJECT, upstream=_upstream("x101_64x4d"), body=ResNet(101, groups=64, group_width=4)
    ),
}


@detector(VARIANTS)
def rpn(image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 1, width: int = 256) -> Detector:
    """Predict an objectness and a box offset for three anchors at every cell of P2 .. P6."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    heads = region_proposals(levels, width)
    score_threshold, iou_threshold = setting("score_threshold", 0.0), setting("iou_threshold", 0.7)
    boxes, scores, level, count = heads.proposals(image.size, score_threshold, iou_threshold)
    label = ops.minimum(level, num_classes - 1)  # all are objects; -1 stays padding
    inside = ops.boxes_inside(ops.concat(*heads.anchors, axis=0), image.size)  # others do not learn       sec. 3.1.3
    return Detector(
        detections=Found(ops.to_image(boxes, image.geometry), scores, label, count),
        losses=heads.losses(image, inside),
    )
