"""DETR: a transformer turns learned queries into a set of boxes, without NMS (Carion et al. 2020, arXiv:2005.12872)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphdet import ops
from graphdet.blocks.conv import conv
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
from graphdet.ir import Detector, Image, Value, detector, row, scope, setting, share, tap, within
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO
from graphdet.zoo.parts import queries
from graphdet.zoo.parts.rows import RGB

VARIANTS = {  # box AP on COCO val2017 as the reference reports it for 150 epochs
    "detr_r50": row(
        RGB, ap=40.1, classes=COCO, upstream="detr/detr_r50_8x2_150e_coco.py", body=ResNet(50, fixed_norm=True)
    ),
}


@detector(VARIANTS)
def detr(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, count: int = 100, width: int = 256
) -> Detector:
    """Say one object, or none, for each of `count` queries that attend to all of C5."""
    (c5,) = within("backbone", lambda pixels: body(pixels)[3:], image.pixels)
    with scope("bbox_head"):
        level = conv("input_proj", c5, width, size=1)
        inside = ops.cells_inside(level, image.size, stride=level.stride)  # no query may see padding
        places = sine_places(level, inside)
        seen = ops.reshape(inside, shape=(level.dim(0), 1, inside.dim(1)))
        wanted = ops.expand(embedding("query_embedding", count, width), shape=(level.dim(0), count, width))
        with scope("transformer"):
            memory = tap("bbox_head.transformer.encoder", encode(to_rows(level), places, seen))
            states = tap("bbox_head.transformer.decoder", decode(wanted, memory, places, seen))
        predict = share(head)
        said = [predict(state, num_classes) for state in states]  # (logits, places) a layer; all but the last: aux

    logits, relative = said[-1]
    scores = ops.softmax(logits)[:, :, :num_classes]
    top, _, chosen = ops.select_top(
        ops.reshape(ops.best(scores), shape=(*scores.shape[:2], 1)), setting("score_threshold", 0.0), k=100
    )
    labels = ops.reshape(ops.best_index(scores), shape=(*scores.shape[:2], 1))
    boxes = ops.gather_rows(queries.absolute(relative, image.size), chosen)

    def losses(logits: Value, relative: Value) -> Mapping[str, Value]:
        cost = -ops.class_columns(ops.softmax(logits), image.truth.labels)
        target = queries.match(image, cost, relative, image.truth.labels, num_classes)
        weight = ops.where(target.positive, 1.0, 0.1)  # most queries say nothing                         sec. 3.1
        mass = ops.maximum(ops.mean_over_processes(ops.total(weight)), 1.0)
        classified = ops.total(ops.cross_entropy(logits, target.labels) * weight) / mass
        return {"loss_cls": classified, **queries.box_losses(image, relative, target)}

    return Detector(
        detections=queries.detections(image, boxes, top, ops.gather_rows(labels, chosen)[:, :, 0]),
        losses=queries.every_layer(losses, said),
    )


def encode(x: Value, places: Value, seen: Value) -> Value:
    """Six layers in which the cells of an image attend to one another (fig. 10, left)."""
    for i in range(6):
        with scope(f"encoder.layers.{i}"):
            x = post_norm(
                x,
                lambda x: attend("attentions.0", x + places, x + places, x, seen, rate=0.1),
                lambda x: feed_forward(x, 2048, rate=0.1),
                rate=0.1,
            )
    return x


def decode(wanted: Value, memory: Value, places: Value, seen: Value) -> list[Value]:
    """What queries hold after each of six layers: attention to one another, then to the image (fig. 10, right)."""
    x, states = ops.expand(0.0, shape=wanted.shape), []
    finish = share(lambda x: layer_norm("decoder.post_norm", x))
    for i in range(6):
        with scope(f"decoder.layers.{i}"):
            x = post_norm(
                x,
                lambda x: attend("attentions.0", x + wanted, x + wanted, x, rate=0.1),
                lambda x: attend("attentions.1", x + wanted, memory + places, memory, seen, rate=0.1),
                lambda x: feed_forward(x, 2048, rate=0.1),
                rate=0.1,
            )
        states.append(finish(x))
    return states


def head(x: Value, classes: int) -> tuple[Value, Value]:
    """Logits of the classes and of no object, and centre and sides in parts of the image (sec. 3.2)."""
    with scope("reg_ffn.layers"):
        hidden = dense("1", ops.relu(dense("0.0", x, 256)), 256)
    return dense("fc_cls", x, classes + 1), ops.sigmoid(dense("fc_reg", ops.relu(hidden), 4))
