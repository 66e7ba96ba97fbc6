"""GFL: scores that say how good the box is, and sides learnt as distributions (Li et al. 2020, arXiv:2006.04388)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows, sums_by_level, to_cells
from graphdet.ir import Detector, Image, Value, detector, parameter, scope, share, tap, within
from graphdet.zoo.necks.fpn import fpn_from_top
from graphdet.zoo.parts import dense
from graphdet.zoo.parts.overlap import giou_loss
from graphdet.zoo.parts.rows import rows as table

BINS = 17  # a side is 0, 1, ..., 16 strides away

VARIANTS = {  # box AP on COCO val2017 as the reference reports it
    **table("gfl_{}", "gfl/gfl_{}_fpn_1x_coco.py", {"r50": 40.2}),
    **table("gfl_{}", "gfl/gfl_{}_fpn_mstrain_2x_coco.py", {"r101": 44.7, "x101_32x4d": 45.9}),
}


@detector(VARIANTS)
def gfl(image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80) -> Detector:
    """Predict class scores and a distribution for the distance to each side at every cell of P3 .. P7."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn_from_top, features[1:])  # P3 .. P7
    with scope("bbox_head"):
        logits, raw = map(list, zip(*map(share(head, num_classes), levels), strict=True))
        sides = [dense.scaled(i, r) for i, r in enumerate(raw)]
        tap("bbox_head", (logits, sides))
        with scope("integral"):
            steps = parameter("project", BINS, init="steps", buffer=True, trainable=False)
    points = [ops.point_grid(p, stride=p.stride) for p in levels]  # points<net>[A 4] a level
    scores = [ops.sigmoid(to_cells(m, num_classes)) for m in logits]
    spread = [distributions(m) for m in sides]  # logits f[N A 4 17]
    boxes = [expected_box(at, x, steps) for at, x in zip(points, spread, strict=True)]

    truth, place = image.truth, ops.concat(*points, axis=0)
    inside = ops.concat(*(ops.cells_inside(p, image.padded, stride=p.stride, per_cell=1) for p in levels), axis=1)
    label, matched, positive = ops.match_atss(
        place, inside, truth.boxes, truth.labels, truth.count, classes=num_classes
    )
    learns = ops.cast(positive, to="f32")
    count = ops.mean_over_processes(ops.total(ops.maximum(ops.total(learns, axes=(1,)), 1.0)))  # at least one an image
    said, found = (ops.concat(*parts, axis=1) for parts in (scores, boxes))
    good = ops.iou(ops.stop_gradient(found), matched) * learns
    wanted = ops.one_hot(label, classes=num_classes) * ops.reshape(good, shape=(*good.shape, 1))
    scored = ops.bce(rows(logits, num_classes), wanted) * ops.square(wanted - said)  # eq. 5
    scored = ops.total(scored, axes=(-1,)) * ops.cast(inside, to="f32")
    weight = ops.stop_gradient(ops.best(said)) * learns
    mass = ops.maximum(ops.mean_over_processes(ops.total(weight)), 1.0)
    missed = giou_loss(found, matched)
    spilt = ops.soft_cross_entropy(ops.concat(*spread, axis=1), two_hot(place, matched, steps))  # eq. 6
    return Detector(
        detections=dense.detect(image, scores, boxes),
        losses={
            "loss_cls": sums_by_level(scored / count, points),
            "loss_bbox": sums_by_level(missed * weight / mass * 2.0, points),
            "loss_dfl": sums_by_level(ops.total(spilt, axes=(-1,)) * weight / mass / 16.0, points),
        },
    )


def head(level: Value, classes: int, width: int = 256) -> tuple[Value, Value]:
    """Class logits, and logits of 17 distances to each of four sides."""
    classify, regress = dense.tower("cls", level, width), dense.tower("reg", level, width)
    logits = conv("gfl_cls", classify, classes, deviation=0.01, bias_value=dense.PRIOR)
    return logits, conv("gfl_reg", regress, 4 * BINS, deviation=0.01)


def distributions(sides: Value) -> Value:
    """A map [N 4*17 H W] as logits [N A 4 17]."""
    cells = to_cells(sides, 4 * BINS)
    return ops.reshape(cells, shape=(cells.dim(0), cells.dim(1), 4, BINS))


def expected_box(points: Value, spread: Value, steps: Value) -> Value:
    """The boxes whose sides are as far away as their distributions expect (eq. 4), in strides."""
    distance = ops.total(ops.softmax(spread) * steps, axes=(-1,))
    return ops.decode_distances(points, distance * points[:, 2:3])


def two_hot(points: Value, boxes: Value, steps: Value) -> Value:
    """Distances to the sides as weights of the two nearest of 17 steps, [N A 4 17]."""
    distance = ops.encode_distances(points, boxes) / points[:, 2:3]
    inside = ops.minimum(ops.maximum(distance, 0.0), BINS - 1 - 0.1)
    return ops.relu(1.0 - ops.absolute(ops.reshape(inside, shape=(*inside.shape, 1)) - steps))
