"""SOLOv2: each cell of a grid makes the kernel that draws its object's mask (Wang et al. 2020, arXiv:2003.10152)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphdet import ops
from graphdet.blocks.conv import conv, group_module, group_unit
from graphdet.blocks.rows import to_cells
from graphdet.ir import Detector, Image, Value, constant, detector, row, scope, setting, share, tap, within
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO
from graphdet.zoo.necks.fpn import fpn_pooled
from graphdet.zoo.parts import queries
from graphdet.zoo.parts.rows import RGB, rows

GRIDS = (40, 36, 24, 16, 12)
STRIDES = (8, 8, 16, 32, 32)  # of the levels that the grids look at; also the least area of a mask, in cells
RANGES = ((1, 96), (48, 192), (96, 384), (192, 768), (384, 2048))  # of the sides of objects, in pixels
LIGHT = ((1, 56), (28, 112), (56, 224), (112, 448), (224, 896))

SMALL: dict[str, Any] = {"width": 256, "depth": 2, "features": 128, "ranges": LIGHT}
VARIANTS = {
    **rows("solov2_{}", "solov2/solov2_{}_fpn_1x_coco.py", {"r50": None}),
    **rows("solov2_{}", "solov2/solov2_{}_fpn_3x_coco.py", {"r101": None}),
    **{
        f"solov2_light_r{depth}": row(
            replace(RGB, size=(448, 768)), classes=COCO, upstream=f"solov2/solov2_light_r{depth}_fpn_3x_coco.py",
            body=ResNet(depth), **SMALL,
        )
        for depth in (18, 34, 50)
    },
}  # fmt: skip


@detector(VARIANTS)
def solov2(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, width: int = 512, depth: int = 4,
    features: int = 256, ranges: Sequence[tuple[float, float]] = RANGES, cells: int = 500,
) -> Detector:  # fmt: skip
    """Score each cell's classes, draw the masks of the best `cells` of an image, let masks of a class compete."""
    levels = within("neck", fpn_pooled, within("backbone", body, image.pixels))  # P2 .. P6
    with scope("mask_head"):
        with scope("mask_feature_head"):
            drawn = tap("mask_head.mask_feature_head", unify(levels[:4], features))  # f[N E H/4 W/4]
        look = share(head, num_classes, features, width, depth)
        said = [look(level, k) for level, k in zip(evened(levels), GRIDS, strict=True)]
        kernels, logits = ([pair[i] for pair in said] for i in range(2))
        tap("mask_head", (kernels, logits, drawn))
    n, e, h, w = drawn.shape
    kernel = ops.concat(*(to_cells(x, e.constant or 0) for x in kernels), axis=1)  # f[N S E]
    canvas = ops.reshape(drawn, shape=(n, e, h * w))

    score_threshold = setting("score_threshold", 0.1)
    score = ops.concat(*(to_cells(peaks(x), num_classes) for x in logits), axis=1)  # f[N S classes]
    top, _, at = ops.select_top(ops.reshape(ops.best(score), shape=(*score.shape[:2], 1)), score_threshold, k=cells)
    mask = ops.sigmoid(ops.matmul(ops.gather_rows(kernel, at), canvas))  # f[N K H/4*W/4]
    inside = ops.cast(mask > 0.5, to="f32")
    area = ops.total(inside, axes=(2,))
    least = constant(np.repeat(np.asarray(STRIDES, np.float32), np.square(GRIDS))[:, None])
    solid = (top > 0.0) & (area > ops.gather_rows(least, at)[:, :, 0])
    sure = ops.where(solid, ops.total(mask * inside, axes=(2,)) / ops.maximum(area, 1.0), 0.0)  # maskness, SOLO 3.3
    score = ops.gather_rows(score, at)
    score = ops.where(score > score_threshold, score, 0.0) * ops.reshape(sure, shape=(*sure.shape, 1))
    score, label, at = ops.select_top(ops.as_scores(score), 0.0, k=500)
    mask = ops.gather_rows(mask, at)
    score = ops.where(score > 0.0, score, 0.0) * ops.matrix_decay(overlaps(ops.cast(mask > 0.5, to="f32")), label)
    score, _, at = ops.select_top(ops.as_scores(ops.reshape(score, shape=(*score.shape, 1))), 0.05, k=100)
    mask = ops.reshape(ops.gather_rows(mask, at), shape=(n, at.dim(1), h, w))
    label = ops.gather_rows(ops.reshape(label, shape=(*label.shape, 1)), at)[:, :, 0]
    found = queries.detections(image, ops.mask_bounds(mask, stride=4), score, label, ops.as_masks(mask, frame="net"))
    return Detector(detections=found, losses=losses(image, kernel, canvas, logits, ranges, num_classes))


def losses(
    image: Image, kernel: Value, canvas: Value, logits: Sequence[Value], ranges: Sequence[tuple[float, float]], c: int
) -> Mapping[str, Value]:
    """Focal loss of classes, Dice loss of the masks of cells that objects take (eq. 2 of SOLO)."""
    truth = image.truth
    label, cell, owner, real = ops.match_instances(
        truth.masks, truth.boxes, truth.labels, truth.count, grids=GRIDS, ranges=tuple(ranges), classes=c
    )
    masks = ops.cast(truth.masks, to="f32")
    lines = masks[:, :, 1::4] + masks[:, :, 2::4]
    middle = lines[..., 1::4] + lines[..., 2::4]  # of the four pixels that a quarter of the size sees, two are enough
    goal = ops.reshape(ops.cast(middle > 1.5, to="f32"), shape=(*truth.labels.shape, canvas.dim(2)))
    dice = ops.total(ops.dynamic_dice(ops.gather_rows(kernel, cell), canvas, goal, owner, real))
    taken = ops.mean_over_processes(ops.total(ops.cast(label < c, to="f32")))
    classified = ops.focal_loss(ops.concat(*(to_cells(x, c) for x in logits), axis=1), label)
    return {
        "loss_mask": 3.0 * dice / ops.maximum(taken, 1.0),
        "loss_cls": ops.total(classified) / (taken + 1.0),
    }


def head(level: Value, k: int, classes: int, features: int, width: int, depth: int) -> tuple[Value, Value]:
    """Kernels and class logits of a k x k grid over the level: [N E k k], [N classes k k] (fig. 2)."""
    seen = ops.resize(located(level), height=k, width=k)
    branches = []
    for name, x in (("kernel", seen), ("cls", seen[:, : level.dim(1)])):
        for i in range(depth):
            x = group_module(f"{name}_convs.{i}", x, width)
        branches.append(x)
    kernels = conv("conv_kernel", branches[0], features, deviation=0.01)
    return kernels, conv("conv_cls", branches[1], classes, deviation=0.01, bias_value=-math.log(99))


def unify(levels: Sequence[Value], features: int) -> Value:
    """All levels at the size of the finest, summed: what kernels are applied to (fig. 3)."""
    summed = group_module("convs_all_levels.0.conv0", levels[0], 128)
    for i, x in enumerate([*levels[1:3], located(levels[3])], 1):
        for j in range(i):
            x = group_module(f"convs_all_levels.{i}.conv{j}", x, 128)
            x = ops.resize(x, height=x.dim(2) * 2, width=x.dim(3) * 2)
        summed = summed + x
    return ops.relu(group_unit("conv_pred", summed, features, deviation=0.01))


def evened(levels: Sequence[Value]) -> list[Value]:
    """The levels, the finest halved and the coarsest at the size of the one before."""
    first, last = (
        ops.resize(x, height=y.dim(2), width=y.dim(3)) for x, y in zip(levels[::4], levels[1::2], strict=True)
    )
    return [first, *levels[1:4], last]


def located(x: Value) -> Value:
    """The map with two more channels: column and row of each cell, from -1 to 1 (CoordConv)."""
    n, _, h, w = x.shape
    place = ops.point_grid(x, stride=1)[:, :2] / ops.maximum(ops.map_size(x) - 1.0, 1.0) * 2.0 - 1.0
    place = ops.reshape(ops.transpose(place, order=(1, 0)), shape=(1, 2, h, w))
    return ops.concat(x, ops.expand(place, shape=(n, 2, h, w)), axis=1)


def peaks(logits: Value) -> Value:
    """Scores of cells that are not exceeded by the ones above and to the left; 0 elsewhere."""
    k, m = logits.shape[2:]
    higher = ops.max_pool(logits, size=2, padding=1)[:, :, :k, :m] > logits
    return ops.where(higher, 0.0, ops.sigmoid(logits))


def overlaps(masks: Value) -> Value:
    """IoU of each mask [N K cells] of 0 and 1 with each, f[N K K]."""
    shared, area = ops.matmul(masks, ops.transpose(masks, order=(0, 2, 1))), ops.total(masks, axes=(2,))
    n, k = area.shape
    union = ops.reshape(area, shape=(n, k, 1)) + ops.reshape(area, shape=(n, 1, k)) - shared
    return shared / ops.maximum(union, 1.0)
