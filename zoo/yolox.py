"""YOLOX: an anchor-free YOLO with a decoupled head and SimOTA assignment (Ge et al. 2021, arXiv:2107.08430)."""

from __future__ import annotations

import math
import re

from graphdet import ops
from graphdet.blocks.conv import conv, separable, silu_module
from graphdet.blocks.rows import rows
from graphdet.ir import Detector, Found, Image, Value, detector, row, scope, setting, within
from graphdet.records import Preprocess
from graphdet.zoo.backbones.csp import Block, csp_darknet
from graphdet.zoo.classes import COCO, SCENES
from graphdet.zoo.necks.yolo import yolo_pafpn

SMALL = Preprocess(size=(416, 416), pad=114.0)
LARGE = Preprocess(size=(640, 640), pad=114.0)
SCENE = Preprocess(size=(320, 320), pad=114.0)


def _upstream(size: str) -> str:
    return f"yolox/yolox_{size}_8x8_300e_coco.py"


VARIANTS = {  # box AP on COCO val2017 as the reference reports it; it reports none for nano and m
    "yolox_nano": row(SMALL, classes=COCO, upstream=_upstream("nano"), depth=0.33, width=0.25, block=separable),
    "yolox_tiny": row(SMALL, ap=32.0, classes=COCO, upstream=_upstream("tiny"), depth=0.33, width=0.375),
    "yolox_s": row(LARGE, ap=40.5, classes=COCO, upstream=_upstream("s"), depth=0.33, width=0.5),
    "yolox_m": row(LARGE, classes=COCO, upstream=_upstream("m"), depth=0.67, width=0.75),
    "yolox_l": row(LARGE, ap=49.4, classes=COCO, upstream=_upstream("l"), depth=1.0, width=1.0),
    "yolox_x": row(LARGE, ap=50.9, classes=COCO, upstream=_upstream("x"), depth=1.33, width=1.25),
    "yolox_scenes": row(SCENE, classes=SCENES, depth=0.33, width=0.125, block=separable, num_classes=5),
}


def export_order(name: str) -> tuple[object, ...]:
    """Sort key of a convolution in the authors' ONNX exports: each level's out_conv stands with that level's head."""
    level = re.search(r"(?:out_convs|multi_level_\w+)\.(\d)", name)
    kinds = ("out_convs", "cls_convs", "conv_cls", "reg_convs", "conv_reg", "conv_obj")
    kind = next((i for i, k in enumerate(kinds) if k in name), 0)
    return (1, int(level[1]), kind) if level else (0,)


@detector(VARIANTS, export_order=export_order)
def yolox(image: Image, *, depth: float, width: float, num_classes: int = 80, block: Block = silu_module) -> Detector:
    """Predict one box, an objectness and class scores at every cell of three levels.

    `block`: plain or separable convolutions.
    """
    features = within("backbone", csp_darknet, image.pixels, depth=depth, width=width, block=block)
    levels = within("neck", yolo_pafpn, features, int(256 * width), count=max(round(3 * depth), 1), block=block)
    maps = within("bbox_head", head, levels, num_classes, block)
    logits, raw, objectness = rows(maps[0], num_classes), rows(maps[1], 4), rows(maps[2], 1)[..., 0]
    points = ops.concat(*(ops.point_grid(p, stride=p.stride) for p in levels), axis=0)  # points<net>[A 4]
    boxes = ops.decode_points(points, raw)  # boxes<xyxy,net>[N A 4]

    classes = ops.sigmoid(logits)
    scores = ops.best(classes) * ops.sigmoid(objectness)
    found = ops.nms(
        boxes, scores, ops.best_index(classes), setting("score_threshold", 0.01), setting("iou_threshold", 0.65)
    )

    truth = image.truth
    named = (truth.boxes, truth.labels, truth.count)
    label, target, overlap = ops.match_simota(points, boxes, logits, objectness, *named)  # sec. 2.1
    positive = label > -0.5
    weight = ops.cast(positive, to="f32")
    count = ops.maximum(ops.mean_over_processes(ops.total(weight)), 1.0)
    kept = ops.where(_column(positive), boxes, target)  # elsewhere the target is the prediction: no loss, no gradient
    wanted = ops.one_hot(label, classes=num_classes) * _column(overlap)  # the IoU is the class target
    loose = 1.0 - ops.square(ops.maximum(ops.iou(kept, target), 1e-16))
    offset = ops.absolute(raw - ops.encode_points(points, target))
    return Detector(
        detections=Found(ops.to_image(found[0], image.geometry), *found[1:]),
        losses={
            "loss_cls": ops.total(ops.bce(logits, wanted) * _column(weight)) / count,
            "loss_bbox": ops.total(loose * weight) * 5.0 / count,
            "loss_obj": ops.total(ops.bce(objectness, weight)) / count,
        },
        late_losses={"loss_l1": ops.total(ops.where(_column(positive), offset, 0.0)) / count},
    )


def _column(x: Value) -> Value:
    return ops.reshape(x, shape=(*x.shape, 1))


def head(levels: list[Value], classes: int, block: Block) -> tuple[list[Value], list[Value], list[Value]]:
    """The decoupled head (fig. 2), with its own weights a level: class logits, box codes, objectness logits."""
    prior = -math.log(99)  # initial scores near 0.01
    logits, boxes, objectness = [], [], []
    for i, level in enumerate(levels):
        classify, regress = (_tower(kind, i, level, block) for kind in ("cls", "reg"))
        logits.append(conv(f"multi_level_conv_cls.{i}", classify, classes, size=1, deviation=0.01, bias_value=prior))
        boxes.append(conv(f"multi_level_conv_reg.{i}", regress, 4, size=1, deviation=0.01))
        objectness.append(conv(f"multi_level_conv_obj.{i}", regress, 1, size=1, deviation=0.01, bias_value=prior))
    return logits, boxes, objectness


def _tower(kind: str, level: int, x: Value, block: Block) -> Value:
    with scope(f"multi_level_{kind}_convs.{level}"):
        for i in range(2):
            x = block(str(i), x, x.dim(1).constant or 0)
    return x
