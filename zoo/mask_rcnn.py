"""Mask R-CNN: Faster R-CNN with a mask of every object (He et al. 2017, arXiv:1703.06870)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Found, Image, Value, detector, scope, share, tap, within
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import mask, rcnn
from graphdet.zoo.parts.rows import rows
from graphdet.zoo.parts.rpn import rpn

VARIANTS = rows(  # box AP on COCO val2017 as the reference reports it for its 1x schedule
    "mask_rcnn_{}",
    "mask_rcnn/mask_rcnn_{}_fpn_1x_coco.py",
    {
        "r50": 38.2, "r50_caffe": 38.0, "r101": 40.0, "r101_caffe": 40.4, "x101_32x4d": 41.9, "x101_32x8d": 42.8,
        "x101_64x4d": 42.8,
    },
)  # fmt: skip


@detector(VARIANTS)
def mask_rcnn(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, width: int = 256
) -> Detector:
    """Find boxes as Faster R-CNN does, then look at each found box once more, to tell which of its cells are object."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    first = rpn(levels, width)
    boxes, _, _, count = first.proposals(image.size)
    with scope("roi_head"):
        with scope("bbox_head"):
            head = share(rcnn.box_head(levels[:4], num_classes))
            said = tap("roi_head.bbox_head", head(boxes, count))
            placed, scores, labels, found = rcnn.select(image, boxes, count, *said, num_classes)
            sampled = rcnn.sample(image, head, boxes, ops.exists(count, boxes), num_classes, claim=0.5)
            seen = head(sampled.boxes, sampled.count)
        with scope("mask_head"):
            look = share(mask.mask_head(levels[:4], num_classes, width=width))
            masks = ops.as_masks(mask.detect(look, *ops.cut_padding(placed, labels, found), found), frame="roi")
            mask_loss = mask.loss(look, image, sampled)
    return Detector(
        detections=Found(ops.to_image(placed, image.geometry), scores, labels, found, masks),
        losses={
            **first.losses(image, first.cells_inside(image)),
            **rcnn.losses(sampled, *seen, num_classes, rcnn.offsets()),
            "loss_mask": mask_loss,
        },
    )
