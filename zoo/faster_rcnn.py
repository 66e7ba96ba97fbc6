"""Faster R-CNN: proposals from a network, then their classes (Ren et al. 2015, arXiv:1506.01497)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from graphdet import ops
from graphdet.blocks.conv import Unit, batch_unit, conv_unit, group_unit
from graphdet.ir import Detector, Image, Value, detector, row, scope, share, tap, within
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import rcnn
from graphdet.zoo.parts.overlap import bounded_iou, ciou_loss, giou_loss, log_iou
from graphdet.zoo.parts.rows import BGR, RGB, rows
from graphdet.zoo.parts.rpn import rpn


def named(what: str) -> tuple[str, str]:
    """The names of a variant, here and in the reference."""
    return f"faster_rcnn_{{}}_{what}", f"faster_rcnn/faster_rcnn_{{}}_fpn_{what}_1x_coco.py"


VARIANTS = {  # box AP on COCO val2017 as the reference reports it, for its 1x schedule where there is one
    **rows(
        "faster_rcnn_{}",
        "faster_rcnn/faster_rcnn_{}_fpn_1x_coco.py",
        {"r50": 37.4, "r50_caffe": 37.8, "r101": 39.4, "r101_caffe": 39.8, "x101_32x4d": 41.2, "x101_64x4d": 42.1},
    ),
    **rows("faster_rcnn_{}", "faster_rcnn/faster_rcnn_{}_fpn_mstrain_3x_coco.py", {"x101_32x8d": 42.4}),
    **rows(*named("iou"), {"r50": 37.9}, regression=rcnn.overlaps(log_iou, 10.0)),
    **rows(*named("giou"), {"r50": 37.6}, regression=rcnn.overlaps(giou_loss, 10.0)),
    **rows(*named("ciou"), {"r50": None}, regression=rcnn.overlaps(ciou_loss, 12.0)),
    **rows(*named("bounded_iou"), {"r50": 37.4}, regression=rcnn.overlaps(bounded_iou, 10.0)),
    **rows(*named("ohem"), {"r50": None}, draw=rcnn.hardest),
    **rows(*named("soft_nms"), {"r50": None}, suppress=rcnn.softly),
    "faster_rcnn_r50_gn_scratch": row(  # not pretrained (He et al. 2019, arXiv:1811.08883)
        RGB,
        ap=40.7,
        classes=COCO,
        upstream="scratch/faster_rcnn_r50_fpn_gn-all_scratch_6x_coco.py",
        body=ResNet(50, frozen=-1, norm="gn"),
        units=(group_unit, group_unit),
    ),
    "faster_rcnn_r50_bn_crop640": row(  # batch norm learns, in the pyramid too
        replace(RGB, size=(640, 640), divisor=64),
        classes=COCO,
        upstream="fpg/faster_rcnn_r50_fpn_crop640_50e_coco.py",
        body=ResNet(50, stored=False),
        units=(batch_unit, None),
    ),
}
C4 = row(
    BGR,
    ap=35.6,
    classes=COCO,
    upstream="faster_rcnn/faster_rcnn_r50_caffe_c4_1x_coco.py",
    body=ResNet(50, caffe=True),
)
DC5 = row(
    BGR,
    ap=37.2,
    classes=COCO,
    upstream="faster_rcnn/faster_rcnn_r50_caffe_dc5_1x_coco.py",
    body=ResNet(50, caffe=True, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
)
SCALES = (2, 4, 8, 16, 32)  # of anchors on a single map, in strides of 16


@detector(VARIANTS)
def faster_rcnn(
    image: Image,
    *,
    body: Callable[[Value], list[Value]],
    num_classes: int = 80,
    width: int = 256,
    units: tuple[Unit, Unit | None] = (conv_unit, None),
    regression: rcnn.Regression = rcnn.L1,
    draw: rcnn.Draw = rcnn.at_random,
    suppress: rcnn.Suppress = rcnn.greedily,
    ignore: float = 1.0,
) -> Detector:
    """Propose up to 1000 boxes an image, then classify and move each by what its bins of P2 .. P5 hold.

    units: a convolution of the pyramid; one of the box head, if it has any · regression: what the offsets learn from ·
    draw: which proposals learn · suppress: which detections stay · ignore: boxes of which a larger share lies in a
    crowd region do not learn.
    """
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width, units[0])  # P2 .. P6
    first = rpn(levels, width)
    boxes, _, _, count = first.proposals(image.size)
    with scope("roi_head"), scope("bbox_head"):
        head = share(rcnn.box_head(levels[:4], num_classes, unit=units[1]))
        found, losses = rcnn.second_stage(image, head, boxes, count, num_classes, regression, draw, suppress, ignore)
    proposed = first.losses(image, first.cells_inside(image, ignore))
    return Detector(detections=found, losses={**proposed, **losses})


@detector({"faster_rcnn_r50_caffe_c4": C4})
def faster_rcnn_c4(image: Image, *, body: ResNet, num_classes: int = 80) -> Detector:
    """On one map of stride 16; the last stage of the body becomes the head of every region (He et al. 2016)."""
    (c4,) = within("backbone", lambda x: body(x, stages=3)[-1:], image.pixels)
    first = rpn([c4], 1024, SCALES)
    boxes, _, _, count = first.proposals(image.size, consider=(12000, 6000), keep=(2000, 1000))

    def head(boxes: Value, count: Value) -> tuple[Value, Value]:
        x = rcnn.flat(rcnn.bins([c4], boxes, count, size=14))
        with scope("shared_head"):
            x = tap("roi_head.shared_head", body.stage(x, 3))  # f[N*K 2048 7 7]
        with scope("bbox_head"):
            return rcnn.predict(ops.total(x, axes=(2, 3)) / 49.0, num_classes)

    with scope("roi_head"):
        found, losses = rcnn.second_stage(image, share(head), boxes, count, num_classes, rcnn.L1)
    return Detector(detections=found, losses={**first.losses(image, first.cells_inside(image)), **losses})


@detector({"faster_rcnn_r50_caffe_dc5": DC5})
def faster_rcnn_dc5(image: Image, *, body: ResNet, num_classes: int = 80) -> Detector:
    """On one map of stride 16, of which the last stage is dilated instead of strided (Dai et al. 2017)."""
    (c5,) = within("backbone", lambda x: body(x)[-1:], image.pixels)
    first = rpn([c5], 2048, SCALES)
    boxes, _, _, count = first.proposals(image.size, consider=(12000, 6000), keep=(2000, 1000))
    with scope("roi_head"), scope("bbox_head"):
        head = share(rcnn.box_head([c5], num_classes))
        found, losses = rcnn.second_stage(image, head, boxes, count, num_classes, rcnn.L1)
    return Detector(detections=found, losses={**first.losses(image, first.anchors_inside(image)), **losses})
