"""Mask R-CNN: Faster R-CNN with a mask of every object (He et al. 2017, arXiv:1703.06870)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphdet import ops
from graphdet.blocks.conv import Unit, conv_unit, group_unit
from graphdet.ir import Detector, Found, Image, Value, detector, row, scope, share, tap, within
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import mask, rcnn
from graphdet.zoo.parts.rows import BGR, RGB, rows
from graphdet.zoo.parts.rpn import rpn

VARIANTS = {  # box AP on COCO val2017 as the reference reports it, for its 1x schedule where there is one
    **rows(
        "mask_rcnn_{}",
        "mask_rcnn/mask_rcnn_{}_fpn_1x_coco.py",
        {
            "r50": 38.2, "r50_caffe": 38.0, "r101": 40.0, "r101_caffe": 40.4, "x101_32x4d": 41.9, "x101_32x8d": 42.8,
            "x101_64x4d": 42.8,
        },
    ),
    "mask_rcnn_r50_swav": row(  # from a body that saw no labels: all but its stem learns, batch norm too
        RGB,
        ap=39.1,
        classes=COCO,
        upstream="selfsup_pretrain/mask_rcnn_r50_fpn_swav-pretrain_1x_coco.py",
        body=ResNet(50, frozen=0, stored=False),
    ),
    "mask_rcnn_r50_gn": row(
        BGR,
        ap=40.2,
        classes=COCO,
        upstream="gn/mask_rcnn_r50_fpn_gn-all_2x_coco.py",
        body=ResNet(50, norm="gn"),
        unit=group_unit,
    ),
    "mask_rcnn_r101_gn": row(
        BGR,
        ap=41.9,
        classes=COCO,
        upstream="gn/mask_rcnn_r101_fpn_gn-all_2x_coco.py",
        body=ResNet(101, norm="gn"),
        unit=group_unit,
    ),
    "mask_rcnn_r50_gn_scratch": row(  # not pretrained (He et al. 2019, arXiv:1811.08883)
        RGB,
        ap=41.2,
        classes=COCO,
        upstream="scratch/mask_rcnn_r50_fpn_gn-all_scratch_6x_coco.py",
        body=ResNet(50, frozen=-1, norm="gn"),
        unit=group_unit,
    ),
}  # fmt: skip
C4 = row(BGR, classes=COCO, upstream="mask_rcnn/mask_rcnn_r50_caffe_c4_1x_coco.py", body=ResNet(50, caffe=True))


@detector(VARIANTS)
def mask_rcnn(
    image: Image,
    *,
    body: Callable[[Value], list[Value]],
    num_classes: int = 80,
    width: int = 256,
    unit: Unit | None = None,
) -> Detector:
    """Find boxes as Faster R-CNN does, then look at each found box once more, to tell which of its cells are object.

    unit: a convolution with norm, of the pyramid and in both heads (Wu and He 2018, arXiv:1803.08494, sec. 5.2).
    """
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width, unit or conv_unit)  # P2 .. P6
    first = rpn(levels, width)
    boxes, _, _, count = first.proposals(image.size)

    def box_head(boxes: Value, count: Value) -> tuple[Value, Value]:
        with scope("bbox_head"):
            return rcnn.box_head(levels[:4], num_classes, unit=unit)(boxes, count)

    def mask_head(boxes: Value, count: Value) -> Value:
        with scope("mask_head"):
            return mask.mask_head(levels[:4], num_classes, width=width, unit=unit or conv_unit)(boxes, count)

    detections, losses = second_stage(image, boxes, count, box_head, mask_head, num_classes)
    return Detector(detections, {**first.losses(image, first.cells_inside(image)), **losses})


@detector({"mask_rcnn_r50_caffe_c4": C4})
def mask_rcnn_c4(image: Image, *, body: ResNet, num_classes: int = 80) -> Detector:
    """On one map of stride 16: what the last stage of the body sees in a region tells its box and mask (fig. 4)."""
    (c4,) = within("backbone", lambda x: body(x, stages=3)[-1:], image.pixels)
    first = rpn([c4], 1024, scales=(2, 4, 8, 16, 32))
    boxes, _, _, count = first.proposals(image.size, consider=(12000, 6000), keep=(2000, 1000))

    @share
    def last_stage(boxes: Value, count: Value) -> Value:
        with scope("shared_head"):
            return body.stage(rcnn.flat(rcnn.bins([c4], boxes, count, size=14)), 3)  # f[N*K 2048 7 7]

    def box_head(boxes: Value, count: Value) -> tuple[Value, Value]:
        x = ops.total(last_stage(boxes, count), axes=(2, 3)) / 49.0
        with scope("bbox_head"):
            return rcnn.predict(x, num_classes)

    def mask_head(boxes: Value, count: Value) -> Value:
        x = last_stage(boxes, count)
        with scope("mask_head"):
            return mask.finer(x, num_classes)

    detections, losses = second_stage(image, boxes, count, box_head, mask_head, num_classes)
    return Detector(detections, {**first.losses(image, first.anchors_inside(image)), **losses})


def second_stage(
    image: Image, boxes: Value, count: Value, box_head: rcnn.Head, mask_head: mask.Head, classes: int
) -> tuple[Found, Mapping[str, Value | Sequence[Value]]]:
    """Detections with their masks from an image's proposals, and what both heads learn from 512 of them."""
    with scope("roi_head"):
        head, look = share(box_head), share(mask_head)
        said = tap("roi_head.bbox_head", head(boxes, count))
        placed, scores, labels, found = rcnn.select(image, boxes, count, *said, classes)
        sampled = rcnn.sample(image, head, boxes, ops.exists(count, boxes), classes, claim=0.5)
        losses = rcnn.losses(sampled, *head(sampled.boxes, sampled.count), classes, rcnn.L1)
        masks = ops.as_masks(mask.detect(look, *ops.cut_padding(placed, labels, found), found), frame="roi")
        losses = {**losses, "loss_mask": mask.loss(look, image, sampled)}
    return Found(ops.to_image(placed, image.geometry), scores, labels, found, masks), losses
