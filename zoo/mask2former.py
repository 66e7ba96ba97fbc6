"""Mask2Former: queries attend to what their last masks cover (Cheng et al. 2022, arXiv:2112.01527)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphdet import ops
from graphdet.blocks.transformer import (
    attend,
    dense,
    embedding,
    feed_forward,
    layer_norm,
    post_norm,
    sine_places,
    to_rows,
)
from graphdet.ir import Detector, Found, Image, Value, detector, row, scope, setting, share, tap, within
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO, COCO_PANOPTIC
from graphdet.zoo.parts import queries
from graphdet.zoo.parts.pixel_decoder import pixel_decoder
from graphdet.zoo.parts.rows import RGB

POINTS = 12544
VARIANTS = {  # box AP on COCO val2017 as the reference reports it for 50 epochs
    f"mask2former_r{depth}{task.replace('-', '_')}": row(
        RGB, ap=ap, classes=names, upstream=f"mask2former/mask2former_r{depth}_lsj_8x2_50e_coco{task}.py",
        body=ResNet(depth, fixed_norm=True, frozen=-1), num_classes=len(names),
    )
    for depth, task, names, ap in (
        (50, "", COCO, 45.7), (50, "-panoptic", COCO_PANOPTIC, 44.8),
        (101, "", COCO, 46.7), (101, "-panoptic", COCO_PANOPTIC, 45.3),
    )
}  # fmt: skip


@detector(VARIANTS)
def mask2former(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, things: int = 80, count: int = 100,
    width: int = 256,
) -> Detector:  # fmt: skip
    """Say a class and a mask for each of `count` queries, after each of nine layers of masked attention."""
    features = within("backbone", body, image.pixels)
    with scope("panoptic_head"):
        with scope("pixel_decoder"):
            drawn, levels = tap("panoptic_head.pixel_decoder", pixel_decoder(features, width))
        names, (n, _, h, w) = embedding("level_embed", 3, width), drawn.shape
        seen = [to_rows(level) + names[i] for i, level in enumerate(levels)]
        places = [sine_places(level, everywhere(level)) for level in levels]
        canvas = ops.reshape(drawn, shape=(n, width, h * w))
        place, x = (
            ops.expand(embedding(k, count, width), shape=(n, count, width)) for k in ("query_embed", "query_feat")
        )
        say = share(head)
        said = [say(x, canvas, num_classes)]
        for i in range(9):
            at = i % 3
            focus = attended(ops.reshape(said[-1][1], shape=(n, count, h, w)), levels[at])
            with scope(f"transformer_decoder.layers.{i}"):
                x = layer(x, place, seen[at], places[at], focus)
            said.append(say(x, canvas, num_classes))
        said = [(logits, ops.reshape(maps, shape=(n, count, h, w))) for logits, maps in said]
        tap("panoptic_head", tuple(zip(*said, strict=True)))
    return Detector(
        detections=instances(image, *said[-1], num_classes, things),
        losses=queries.every_layer(lambda logits, maps: losses(image, logits, maps, num_classes), said),
        segments=queries.segments(*said[-1], num_classes, things) if things < num_classes else None,
    )


def everywhere(level: Value) -> Value:
    """All cells of a map, b[N H*W]."""
    n, _, h, w = level.shape
    return ops.cast(ops.expand(1.0, shape=(n, h * w)), to="b")


def layer(x: Value, place: Value, seen: Value, places: Value, focus: Value) -> Value:
    """Queries attend to what their masks cover, then to one another (sec. 3.2.2)."""
    return post_norm(
        x,
        lambda x: attend("attentions.0", x + place, seen + places, seen, focus),
        lambda x: attend("attentions.1", x + place, x + place, x),
        lambda x: feed_forward(x, 2048),
    )


def attended(maps: Value, level: Value) -> Value:
    """Which cells of a level each query's mask covers, b[N Q H*W]."""
    small = ops.resize(maps, height=level.dim(2), width=level.dim(3))
    return ~ops.reshape(small < 0.0, shape=(*maps.shape[:2], level.dim(2) * level.dim(3)))


def head(x: Value, canvas: Value, classes: int) -> tuple[Value, Value]:
    """Class logits f[N Q classes+1] (the last: no object) and mask logits f[N Q H/4*W/4] of queries."""
    x = layer_norm("transformer_decoder.post_norm", x)
    kernel = x
    for i in ("0", "2"):
        kernel = ops.relu(dense(f"mask_embed.{i}", kernel, 256))
    return dense("cls_embed", x, classes + 1), ops.matmul(dense("mask_embed.4", kernel, 256), canvas)


def instances(image: Image, logits: Value, maps: Value, classes: int, things: int) -> Found:
    """The best 100 pairs of query and class, by class score times mean mask score."""
    (n, _, h, w), (tall, wide) = maps.shape, image.pixels.shape[2:]
    score, label, row = ops.select_top(ops.softmax(logits)[:, :, :classes], 0.0, k=100)
    maps = ops.reshape(ops.gather_rows(ops.reshape(maps, shape=(n, -1, h * w)), row), shape=(n, row.dim(1), h, w))
    inside = ops.reshape(ops.cells_inside(image.pixels, image.size, stride=1), shape=(n, 1, tall, wide))
    full = ops.where(inside, ops.resize(maps, height=tall, width=wide), -1.0)
    on = ops.cast(full > 0.0, to="f32")
    sure = ops.total(ops.sigmoid(full) * on, axes=(2, 3)) / (ops.total(on, axes=(2, 3)) + 1e-6)
    score = ops.as_scores(ops.where(label < things, score * sure, 0.0))
    top, _, order = ops.select_top(
        ops.reshape(score, shape=(n, score.dim(1), 1)), setting("score_threshold", 0.0), k=100
    )
    boxes = ops.gather_rows(ops.mask_bounds(full, stride=1, threshold=0.0), order)
    flat = ops.gather_rows(ops.reshape(maps, shape=(n, row.dim(1), h * w)), order)
    scale = ops.reshape(ops.maximum(ops.best(ops.absolute(flat)), 1e-6), shape=(n, order.dim(1), 1))
    masks = ops.reshape(0.5 + 0.5 * flat / scale, shape=(n, order.dim(1), h, w))  # one half where the logit is 0
    labels = ops.gather_rows(ops.reshape(label, shape=(n, row.dim(1), 1)), order)[:, :, 0]
    return queries.detections(image, boxes, top, labels, ops.as_masks(masks, frame="net"))


def losses(image: Image, logits: Value, maps: Value, classes: int) -> Mapping[str, Value]:
    """Cross entropy of classes, and of masks on points, and Dice; queries are matched by the same (sec. 3.3)."""
    truth, points = image.truth, ops.random_points(image.sampling_seed, points=POINTS)
    said, wanted = ops.read_points(maps, points), ops.read_points(ops.cast(truth.masks, to="f32"), points)
    goal, p = ops.transpose(wanted, order=(0, 2, 1)), ops.sigmoid(said)
    cross = ops.matmul(ops.bce(said, 1.0 + said * 0.0), goal) + ops.matmul(ops.bce(said, said * 0.0), 1.0 - goal)
    n, q, g = *logits.shape[:2], truth.labels.dim(1)
    size = ops.reshape(ops.total(p, axes=(2,)), shape=(n, q, 1)) + ops.reshape(
        ops.total(wanted, axes=(2,)), shape=(n, 1, g)
    )
    dice = 1.0 - (2.0 * ops.matmul(p, goal) + 1.0) / (size + 1.0)
    cost = -2.0 * ops.class_columns(ops.softmax(logits), truth.labels) + 5.0 * cross / float(POINTS) + 5.0 * dice
    owner = ops.match_one_to_one(cost, truth.count)
    labels = queries.labels_of(owner, truth.labels, classes)
    weight = ops.where(owner > -1, 1.0, 0.1)
    taken = ops.maximum(ops.mean_over_processes(ops.total(ops.cast(owner > -1, to="f32"))), 1.0)
    mass = ops.mean_over_processes(ops.total(weight))
    mask, dice = ops.point_losses(maps, truth.masks, owner, image.sampling_seed, points=POINTS)
    return {
        "loss_cls": 2.0 * ops.total(ops.cross_entropy(logits, labels) * weight) / mass,
        "loss_mask": 5.0 * ops.total(mask) / taken,
        "loss_dice": 5.0 * ops.total(dice) / taken,
    }
