"""YOLOv3: three anchors a cell on three levels, and an objectness each (Redmon, Farhadi 2018, arXiv:1804.02767)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import sums_by_level, to_cells
from graphdet.ir import Detector, Found, Image, Value, constant, detector, row, scope, setting, tap, within
from graphdet.ir.detector import Row
from graphdet.records import Preprocess
from graphdet.zoo.backbones.darknet import darknet53, leaky_module
from graphdet.zoo.backbones.mobilenet import MobileNetV2
from graphdet.zoo.classes import COCO

Sizes = tuple[tuple[tuple[int, int], ...], ...]
COCO_ANCHORS: Sizes = (  # width, height on strides 32, 16, 8 (sec. 2.3)
    ((116, 90), (156, 198), (373, 326)), ((30, 61), (62, 45), (59, 119)), ((10, 13), (16, 30), (33, 23)),
)  # fmt: skip
SMALL_ANCHORS: Sizes = (
    ((220, 125), (128, 222), (264, 266)), ((35, 87), (102, 96), (60, 170)), ((10, 15), (24, 36), (72, 42)),
)  # fmt: skip


def _dark(side: int) -> Preprocess:
    return Preprocess("rgb", std=(255.0, 255.0, 255.0), size=(side, side), fit="short_side")


def _light(side: int) -> Preprocess:
    return Preprocess("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (side, side), "short_side")


def _row(preprocess: Preprocess, ap: float, upstream: str, **arguments: Any) -> Row:
    return row(preprocess, ap=ap, classes=COCO, upstream=f"yolo/yolov3_{upstream}_coco.py", **arguments)


SMALL = {"body": MobileNetV2((3, 5, 7), act=ops.leaky_relu), "widths": (96, 96, 96), "hidden": (96, 96, 96)}
VARIANTS = {  # box AP on COCO val2017 as the reference reports it
    "yolov3_d53_320": _row(_dark(320), 27.9, "d53_320_273e"),
    "yolov3_d53_416": _row(_dark(416), 30.9, "d53_mstrain-416_273e"),
    "yolov3_d53_608": _row(_dark(608), 33.7, "d53_mstrain-608_273e"),
    "yolov3_mobilenetv2_320": _row(_light(320), 22.2, "mobilenetv2_320_300e", sizes=SMALL_ANCHORS, **SMALL),
    "yolov3_mobilenetv2_416": _row(_light(416), 23.9, "mobilenetv2_mstrain-416_300e", **SMALL),
}


@detector(VARIANTS)
def yolov3(
    image: Image,
    *,
    body: Callable[[Value], list[Value]] = darknet53,
    num_classes: int = 80,
    sizes: Sizes = COCO_ANCHORS,
    widths: Sequence[int] = (512, 256, 128),
    hidden: Sequence[int] = (1024, 512, 256),
) -> Detector:
    """Predict a box, an objectness and class scores for three anchors at every cell of strides 32, 16, 8.

    sizes: of the anchors · widths, hidden: channels of the neck's levels and of the head, coarsest first.
    """
    features = within("backbone", body, image.pixels)  # strides 8, 16, 32
    levels = within("neck", neck, features[::-1], widths)
    with scope("bbox_head"):
        maps = tap("bbox_head.0", head(levels, 3 * (5 + num_classes), hidden))
    said = ops.concat(*(to_cells(m, 5 + num_classes) for m in maps), axis=1)
    place, shape, objectness, logits = said[..., 0:2], said[..., 2:4], said[..., 4], said[..., 5:]
    steps = [cell(p.stride, wanted) for p, wanted in zip(levels, sizes, strict=True)]
    grids = [ops.anchor_grid(p, constant(step), stride=p.stride) for p, step in zip(levels, steps, strict=True)]
    corners = [ops.point_grid(p, stride=p.stride) for p in levels]
    corner = ops.concat(*(ops.reshape(ops.concat(c, c, c, axis=1), shape=(-1, 4)) for c in corners), axis=0)
    anchors = ops.concat(*grids, axis=0)  # boxes<xyxy,net>[A 4]
    extent = (anchors[:, 2:] - anchors[:, :2]) / corner[:, 2:]  # of the anchors, in cells
    moves = ops.concat((ops.sigmoid(place) - 0.5) / extent, shape, axis=-1)  # sec. 2.1
    boxes = ops.decode_deltas(anchors, moves, max_ratio=1e-30)

    sure = ops.sigmoid(objectness)
    eligible = ops.reshape(sure, shape=(*sure.shape, 1)) > 0.005
    scores = ops.where(eligible, ops.sigmoid(logits), 0.0)
    top, label, index = ops.select_top(scores, setting("score_threshold", 0.05), k=1000)
    chosen = ops.gather_rows(boxes, index)
    found = ops.nms(chosen, top * ops.gather(sure, index), label, 0.0, setting("iou_threshold", 0.45), keep=100)

    truth = image.truth
    target, matched, positive = ops.match_grid(
        corner, anchors, truth.boxes, truth.labels, truth.count, classes=num_classes
    )
    wanted = ops.encode_deltas(anchors, matched)
    middle = ops.minimum(ops.maximum(wanted[..., :2] * extent + 0.5, 1e-6), 1 - 1e-6)
    learns = ops.cast(positive, to="f32")
    column = ops.reshape(learns, shape=(*learns.shape, 1))
    judged = ops.cast(target > -0.5, to="f32")  # all but those that overlap an object of another cell
    named = ops.bce(logits, ops.one_hot(target, classes=num_classes)) * column
    placed, shaped = ops.bce(place, middle) * column, ops.square(shape - wanted[..., 2:]) * column
    return Detector(
        detections=Found(ops.to_image(found[0], image.geometry), *found[1:]),
        losses={
            "loss_cls": sums_by_level(ops.total(named, axes=(-1,)), grids),
            "loss_conf": sums_by_level(ops.bce(objectness, learns) * judged, grids),
            "loss_xy": sums_by_level(ops.total(placed, axes=(-1,)) * 2.0, grids),
            "loss_wh": sums_by_level(ops.total(shaped, axes=(-1,)) * 2.0, grids),
        },
    )


def neck(features: Sequence[Value], widths: Sequence[int]) -> list[Value]:
    """Five convolutions a level, each finer one beside the enlarged result of the coarser one (sec. 2.3)."""
    levels: list[Value] = []
    for i, (x, width) in enumerate(zip(features, widths, strict=True)):
        if levels:
            x = ops.concat(ops.upsample(leaky_module(f"conv{i}", levels[-1], width, size=1), scale=2), x, axis=1)
        with scope(f"detect{i + 1}"):
            for k in range(5):
                out, size = (2 * width, 3) if k % 2 else (width, 1)
                x = leaky_module(f"conv{k + 1}", x, out, size=size)
        levels.append(x)
    return levels


def head(levels: Sequence[Value], outputs: int, hidden: Sequence[int]) -> list[Value]:
    """A 3x3 convolution and a prediction, with its own weights a level."""
    maps = []
    for i, (x, width) in enumerate(zip(levels, hidden, strict=True)):
        bridge = leaky_module(f"convs_bridge.{i}", x, width)
        maps.append(conv(f"convs_pred.{i}", bridge, outputs, size=1, deviation=0.01))
    return maps


def cell(stride: int, sizes: Sequence[tuple[int, int]]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The anchors around the middle of a cell whose corner is the origin."""
    half = np.asarray(sizes, np.float32) / 2
    return np.concatenate([stride / 2 - half, stride / 2 + half], 1).astype(np.float32)
