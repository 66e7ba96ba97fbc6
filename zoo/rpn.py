"""Region proposal network with a feature pyramid: class-agnostic boxes (Ren et al. 2015, arXiv:1506.01497)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Found, Image, Value, detector, row, setting, within
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts.rows import BGR, rows
from graphdet.zoo.parts.rpn import Rpn
from graphdet.zoo.parts.rpn import rpn as region_proposals

OBJECT = ("object",)
VARIANTS = rows(
    "rpn_{}",
    "rpn/rpn_{}_fpn_1x_coco.py",
    dict.fromkeys(("r50", "r50_caffe", "r101", "r101_caffe", "x101_32x4d", "x101_64x4d")),
    classes=OBJECT,
)
C4 = row(BGR, classes=OBJECT, upstream="rpn/rpn_r50_caffe_c4_1x_coco.py", body=ResNet(50, caffe=True))


@detector(VARIANTS)
def rpn(image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 1, width: int = 256) -> Detector:
    """Predict an objectness and a box offset for three anchors at every cell of P2 .. P6."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    return proposer(image, region_proposals(levels, width), num_classes)


@detector({"rpn_r50_caffe_c4": C4})
def rpn_c4(image: Image, *, body: ResNet, num_classes: int = 1) -> Detector:
    """Fifteen anchors at every cell of one map of stride 16."""
    (c4,) = within("backbone", lambda x: body(x, stages=3)[-1:], image.pixels)
    first = region_proposals([c4], 1024, scales=(2, 4, 8, 16, 32))
    return proposer(image, first, num_classes, consider=12000, keep=2000)


def proposer(image: Image, first: Rpn, classes: int, *, consider: int = 1000, keep: int = 1000) -> Detector:
    """The proposals themselves as detections."""
    score_threshold, iou_threshold = setting("score_threshold", 0.0), setting("iou_threshold", 0.7)
    limits = {"consider": (consider, consider), "keep": (keep, keep)}
    boxes, scores, level, count = first.proposals(image.size, score_threshold, iou_threshold, **limits)
    label = ops.minimum(level, classes - 1)  # all are objects; -1 stays padding
    return Detector(
        detections=Found(ops.to_image(boxes, image.geometry), scores, label, count),
        losses=first.losses(image, first.anchors_inside(image)),
    )
