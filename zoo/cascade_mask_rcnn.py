"""Cascade Mask R-CNN: a mask head beside each head of Cascade R-CNN (Cai and Vasconcelos 2019, arXiv:1906.09756)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.ir import Detector, Found, Image, Value, detector, scope, share, within
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import mask, rcnn
from graphdet.zoo.parts.cascade import STAGES, cascade
from graphdet.zoo.parts.rows import rows
from graphdet.zoo.parts.rpn import rpn

NAME = "cascade_mask_rcnn_{}"
VARIANTS = {  # box AP on COCO val2017 as the reference reports it; x101_32x8d is trained three times as long
    **rows(
        NAME,
        "cascade_rcnn/cascade_mask_rcnn_{}_fpn_1x_coco.py",
        {"r50": 41.2, "r50_caffe": 41.2, "r101": 42.9, "r101_caffe": 43.2, "x101_32x4d": 44.3, "x101_64x4d": 45.3},
    ),
    **rows(NAME, "cascade_rcnn/cascade_mask_rcnn_{}_fpn_mstrain_3x_coco.py", {"x101_32x8d": 46.1}),
}


@detector(VARIANTS)
def cascade_mask_rcnn(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, width: int = 256
) -> Detector:
    """Find boxes as Cascade R-CNN does; three mask heads, each trained on its stage's boxes, speak with one voice."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    first = rpn(levels, width)
    boxes, _, _, count = first.proposals(image.size, keep=(2000, 1000))
    with scope("roi_head"):
        heads = [rcnn.box_head(levels[:4], num_classes, kinds=1) for _ in STAGES]
        stages = cascade(image, boxes, count, heads, num_classes)
        placed, scores, labels, found = rcnn.select(
            image, stages.boxes, count, stages.logits, stages.deltas, num_classes, STAGES[-1].stds
        )
        alone = ops.cut_padding(placed, labels, found)
        masks, losses = list[Value](), dict[str, Value]()
        for i, (stage, seen) in enumerate(zip(STAGES, stages.sampled, strict=True)):
            with scope("mask_head"), scope(i):
                look = share(mask.mask_head(levels[:4], num_classes, width=width))
                masks.append(mask.detect(look, *alone, found, name=f"roi_head.mask_head.{i}"))
                losses[f"s{i}.loss_mask"] = mask.loss(look, image, seen) * stage.weight
    return Detector(
        detections=Found(ops.to_image(placed, image.geometry), scores, labels, found, mask.mean(masks)),
        losses={
            **first.losses(image, first.anchors_inside(image), lambda error: ops.smooth_l1(error, beta=1 / 9)),
            **stages.losses,
            **losses,
        },
    )
