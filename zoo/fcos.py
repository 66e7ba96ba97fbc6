"""FCOS: every point in an object predicts its class and its box (Tian et al. 2019, arXiv:1904.01355)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows, to_cells
from graphdet.ir import Detector, Image, Value, detector, scope, share, tap, within
from graphdet.records import Preprocess
from graphdet.zoo.necks.fpn import fpn_from_top
from graphdet.zoo.parts import dense
from graphdet.zoo.parts.overlap import giou_loss, log_iou
from graphdet.zoo.parts.rows import rows as table

Head = Callable[..., tuple[Value, Value, Value]]


def first_head(level: Value, classes: int, width: int = 256) -> tuple[Value, Value, Value]:
    """Class logits, raw distances, and centre-ness beside the classes (fig. 2)."""
    classify, regress = dense.tower("cls", level, width), dense.tower("reg", level, width)
    return _predictions(classify, regress, classify, classes)


def improved_head(level: Value, classes: int, width: int = 256) -> tuple[Value, Value, Value]:
    """The improved head: centre-ness beside the distances, and biases in the towers."""
    classify, regress = (dense.tower(kind, level, width, bias=True) for kind in ("cls", "reg"))
    return _predictions(classify, regress, regress, classes)


def _predictions(classify: Value, regress: Value, central: Value, classes: int) -> tuple[Value, Value, Value]:
    logits = conv("conv_cls", classify, classes, deviation=0.01, bias_value=dense.PRIOR)
    return logits, conv("conv_reg", regress, 4, deviation=0.01), conv("conv_centerness", central, 1, deviation=0.01)


def in_strides(raw: Value, stride: int) -> Value:
    """Distances of the improved version: multiples of the stride, none below 0."""
    return ops.relu(raw) * float(stride)


def exponential(raw: Value, stride: int) -> Value:
    """Distances of the first version: exp(raw) pixels (sec. 3.2)."""
    return ops.exp(raw)


BGR = Preprocess("bgr", (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), (800, 1333), "short_side")
NAME, UPSTREAM = "fcos_{}", "fcos/fcos_{}_fpn_gn-head_1x_coco.py"
CENTER = "fcos/fcos_center_{}_fpn_gn-head_1x_coco.py"
IMPROVED = "fcos/fcos_center-normbbox-centeronreg-giou_{}_fpn_gn-head_1x_coco.py"
IMPROVEMENTS: dict[str, Any] = {
    "head": improved_head,
    "distances": in_strides,
    "box_loss": giou_loss,
    "radius": 1.5,
    "iou": 0.6,
}
VARIANTS = {  # box AP on COCO val2017 as the reference reports it
    **table(NAME, UPSTREAM, {"r50_caffe": 36.6, "r101_caffe": 39.1}, preprocess=BGR),
    **table("fcos_center_{}", CENTER, {"r50_caffe": None}, preprocess=BGR, radius=1.5),
    **table("fcos_improved_{}", IMPROVED, {"r50_caffe": 38.7}, **IMPROVEMENTS),
    **table(NAME, "fcos/fcos_{}_fpn_gn-head_mstrain_640-800_2x_coco.py", {"x101_64x4d": 42.6}),
}


@detector(VARIANTS)
def fcos(
    image: Image,
    *,
    body: Callable[[Value], list[Value]],
    num_classes: int = 80,
    head: Head = first_head,
    distances: Callable[[Value, int], Value] = exponential,
    box_loss: Callable[[Value, Value], Value] = log_iou,
    radius: float = 0.0,
    iou: float = 0.5,
) -> Detector:
    """Predict class scores, the distances to four sides and centre-ness at every point of P3 .. P7.

    radius: an object's points are those within so many strides of its centre (0: all in it) · iou: of suppression.
    """
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_from_top, features[1:], between=ops.relu)  # P3 .. P7
    with scope("bbox_head"):
        logits, raw, central = zip(*map(share(head, num_classes), levels), strict=True)
        sides = [distances(dense.scaled(i, r), p.stride) for i, (r, p) in enumerate(zip(raw, levels, strict=True))]
        maps = tap("bbox_head", (list(logits), sides, list(central)))
    points = [ops.point_grid(p, stride=p.stride, offset=0.5) for p in levels]  # points<net>[A 4] a level
    boxes = [ops.decode_distances(at, to_cells(d, 4)) for at, d in zip(points, maps[1], strict=True)]
    scores = [ops.sigmoid(to_cells(m, num_classes)) for m in maps[0]]
    quality = [ops.sigmoid(to_cells(m, 1)[..., 0]) for m in maps[2]]

    truth, place = image.truth, ops.concat(*points, axis=0)
    target, matched, positive = ops.match_points(
        place, truth.boxes, truth.labels, truth.count, classes=num_classes, radius=radius
    )
    weight = ops.cast(positive, to="f32")
    count = ops.maximum(ops.mean_over_processes(ops.total(weight)), 1.0)
    central_target = ops.centreness(ops.encode_distances(place, matched)) * weight  # eq. 3
    missed = box_loss(ops.concat(*boxes, axis=1), matched) * central_target
    central_loss = ops.bce(rows(maps[2], 1)[..., 0], central_target) * weight
    return Detector(
        detections=dense.detect(image, scores, boxes, quality, iou=iou),
        losses={
            "loss_cls": ops.total(ops.focal_loss(rows(maps[0], num_classes), target)) / count,
            "loss_bbox": ops.total(missed) / ops.maximum(ops.mean_over_processes(ops.total(central_target)), 1e-6),
            "loss_centerness": ops.total(central_loss) / count,
        },
    )
