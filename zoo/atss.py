"""ATSS: one anchor a cell, assigned by statistics of overlap (Zhang et al. 2020, arXiv:1912.02424)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows, sums_by_level, to_cells
from graphdet.ir import Detector, Image, Value, detector, scope, share, tap, within
from graphdet.zoo.necks.fpn import fpn_from_top
from graphdet.zoo.parts import dense
from graphdet.zoo.parts.overlap import giou_loss
from graphdet.zoo.parts.rows import rows as table

STDS = (0.1, 0.1, 0.2, 0.2)  # of box offsets

# box AP on COCO val2017 as the reference reports it for its 1x schedule
VARIANTS = table("atss_{}", "atss/atss_{}_fpn_1x_coco.py", {"r50": 39.4, "r101": 41.5})


@detector(VARIANTS)
def atss(image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80) -> Detector:
    """Predict class scores, the offset of one anchor and centre-ness at every cell of P3 .. P7."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_from_top, features[1:])  # P3 .. P7
    with scope("bbox_head"):
        logits, raw, central = map(list, zip(*map(share(head, num_classes), levels), strict=True))
        moves = [dense.scaled(i, r) for i, r in enumerate(raw)]
        tap("bbox_head", (logits, moves, central))
    points = [ops.point_grid(p, stride=p.stride) for p in levels]  # points<net>[A 4] a level
    anchors = [dense.square(at) for at in points]  # boxes<xyxy,net>[A 4]
    scores = [ops.sigmoid(to_cells(m, num_classes)) for m in logits]
    quality = [ops.sigmoid(to_cells(m, 1)[..., 0]) for m in central]
    boxes = [ops.decode_deltas(a, to_cells(m, 4), stds=STDS) for a, m in zip(anchors, moves, strict=True)]

    truth = image.truth
    place = ops.concat(*points, axis=0)
    inside = ops.concat(*(ops.cells_inside(p, image.padded, stride=p.stride, per_cell=1) for p in levels), axis=1)
    target, matched, positive = ops.match_atss(
        place, inside, truth.boxes, truth.labels, truth.count, classes=num_classes
    )
    weight = ops.cast(positive, to="f32")
    count = ops.mean_over_processes(ops.total(ops.maximum(ops.total(weight, axes=(1,)), 1.0)))  # at least one an image
    wanted = ops.centreness(ops.encode_distances(place, matched)) * weight
    classified = ops.focal_loss(rows(logits, num_classes), target)
    mass = ops.maximum(ops.mean_over_processes(ops.total(wanted)), 1.0)
    missed = giou_loss(ops.concat(*boxes, axis=1), matched) * wanted / mass
    centred = ops.bce(rows(central, 1)[..., 0], wanted) * weight
    return Detector(
        detections=dense.detect(image, scores, boxes, quality),
        losses={
            "loss_cls": sums_by_level(classified / count, anchors),
            "loss_bbox": sums_by_level(missed * 2.0, anchors),
            "loss_centerness": sums_by_level(centred / count, anchors),
        },
    )


def head(level: Value, classes: int, width: int = 256) -> tuple[Value, Value, Value]:
    """Class logits, anchor offsets, and centre-ness beside the offsets."""
    classify, regress = dense.tower("cls", level, width), dense.tower("reg", level, width)
    return (
        conv("atss_cls", classify, classes, deviation=0.01, bias_value=dense.PRIOR),
        conv("atss_reg", regress, 4, deviation=0.01),
        conv("atss_centerness", regress, 1, deviation=0.01),
    )
