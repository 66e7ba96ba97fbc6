"""Fast R-CNN: classes and boxes of regions that something else proposed (Girshick 2015, arXiv:1504.08083)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet.ir import Detector, Image, Value, detector, scope, share, within
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import rcnn
from graphdet.zoo.parts.rows import rows

VARIANTS = rows(
    "fast_rcnn_{}",
    "fast_rcnn/fast_rcnn_{}_fpn_1x_coco.py",
    dict.fromkeys(("r50", "r50_caffe", "r101", "r101_caffe")),
)


@detector(VARIANTS)
def fast_rcnn(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, width: int = 256, most: int = 1000
) -> Detector:
    """Classify and move each of up to `most` given boxes by what its bins of P2 .. P5 hold."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_pooled, features, width)  # P2 .. P6
    boxes, count = rcnn.given(image, most)
    with scope("roi_head"), scope("bbox_head"):
        head = share(rcnn.box_head(levels[:4], num_classes))
        found, losses = rcnn.second_stage(image, head, boxes, count, num_classes, rcnn.L1)
    return Detector(detections=found, losses=losses)
