"""Deformable DETR: queries read a few points of every level (Zhu et al. 2021, arXiv:2010.04159)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from graphdet import ops
from graphdet.blocks.deform_attention import attend_to_points, encode_points
from graphdet.blocks.transformer import attend, dense, embedding, feed_forward, layer_norm, post_norm, width_of
from graphdet.ir import Detector, Image, Value, by_phase, detector, row, scope, setting, share, tap, within
from graphdet.ir.trace import parameter
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO
from graphdet.zoo.necks.channel_mapper import channel_mapper
from graphdet.zoo.parts import queries
from graphdet.zoo.parts.cells import Cells, cells
from graphdet.zoo.parts.rows import RGB

Said = tuple[Value, Value]  # logits f[N Q classes]; centre and sides in parts of the image, f[N Q 4]
Head = Callable[[Value, Value], Said]
Start = tuple[Value, Value, Value, list[Said]]  # state and place of queries, where each looks first, proposals


def learned(seen: Cells, memory: Value, count: int, say: Head) -> Start:
    """Queries that are parameters: state, place, the point where each looks first, and no proposals (sec. 4.1)."""
    n, width = memory.dim(0), width_of(memory)
    both = ops.expand(embedding("query_embedding", count, 2 * width), shape=(n, count, width * 2))
    with scope("transformer"):
        point = ops.sigmoid(dense("reference_points", both[:, :, :width], 2))
    return both[:, :, width:], both[:, :, :width], point, []


def proposed(seen: Cells, memory: Value, count: int, say: Head) -> Start:
    """Queries made of the best boxes that cells propose, each box its own cell's first guess (sec. 4.2, two-stage)."""
    n, s, width = *memory.shape[:2], width_of(memory)
    sides = [ops.expand(0.05 * 2.0**i, shape=(n, p.dim(2) * p.dim(3), 2)) for i, p in enumerate(seen.levels)]
    boxes = ops.concat(seen.centres, ops.concat(*sides, axis=1), axis=2)
    amid = ops.total(ops.cast((boxes > 0.01) & (boxes < 0.99), to="i64"), axes=(2,)) > 3
    valid = ops.reshape(amid & seen.inside, shape=(n, s, 1))
    with scope("transformer"):
        held = layer_norm("enc_output_norm", dense("enc_output", ops.where(valid, memory, 0.0), width))
    logits, box = say(held, ops.where(valid, boxes, 0.5))
    said = logits, ops.where(valid, box, 1.0)
    score = ops.where(ops.reshape(seen.inside, shape=(n, s, 1)), ops.sigmoid(logits[:, :, :1]), 0.0)
    _, _, chosen = ops.select_top(score, 0.0, k=count)  # class 0 stands for all; padding proposes nothing
    box = fixed(ops.gather_rows(said[1], chosen))
    encoded = ops.sine_encoding(box * (2 * math.pi), features=width // 2)
    with scope("transformer"):
        encoded = dense("pos_trans", ops.reshape(encoded, shape=(n, box.dim(1), width * 2)), 2 * width)
        both = layer_norm("pos_trans_norm", encoded)
    return both[:, :, width:], both[:, :, :width], box, [said]


def shared_heads(count: int, classes: int) -> list[Head]:
    """One head for all layers."""
    return [share(partial(head, "0", classes))] * count


def own_heads(count: int, classes: int) -> list[Head]:
    """A head for each layer, and one for proposals."""
    return [partial(head, str(i), classes) for i in range(count)]


def fixed(x: Value) -> Value:
    """The value, through which nothing learns."""
    return by_phase(train=lambda: ops.stop_gradient(x), infer=lambda: x)


def stay(reference: Value, box: Value) -> Value:
    """Every layer looks around the first reference."""
    return reference


def refine(reference: Value, box: Value) -> Value:
    """A layer looks where the last one saw the object (sec. 4.2, iterative bounding box refinement)."""
    return fixed(box)


REFINED = {"heads": own_heads, "move": refine}
VARIANTS = {  # box AP on COCO val2017 as the reference reports it for 50 epochs
    f"deformable_detr_{name}": row(
        RGB, ap=ap, classes=COCO, upstream=f"deformable_detr/deformable_detr_{name}_16x2_50e_coco.py",
        body=ResNet(50, fixed_norm=True), **parts,
    )
    for name, ap, parts in (
        ("r50", 44.5, {}), ("refine_r50", 46.1, REFINED), ("twostage_refine_r50", 46.8, {**REFINED, "start": proposed}),
    )
}  # fmt: skip


@detector(VARIANTS)
def deformable_detr(
    image: Image, *, body: Callable[[Value], list[Value]], neck: Callable[..., list[Value]] = channel_mapper,
    heads: Callable[[int, int], list[Head]] = shared_heads, move: Callable[[Value, Value], Value] = stay,
    start: Callable[..., Start] = learned, num_classes: int = 80, count: int = 300, width: int = 256,
) -> Detector:  # fmt: skip
    """Say one object, or none, for each of `count` queries that read points of C3 .. C6."""
    levels = within("neck", neck, within("backbone", lambda pixels: body(pixels)[1:], image.pixels), width)
    with scope("bbox_head"):
        with scope("transformer"):
            names = parameter("level_embeds", len(levels), width, init="normal", value=1.0)
            seen = cells(levels, image.size, names, offset=-0.5)
            memory = encode_points(seen.rows, seen.places, seen.own, seen.inside, levels, rate=0.1)
        tap("bbox_head.transformer.encoder", memory)
        say = heads(7, num_classes)
        x, place, reference, proposals = start(seen, memory, count, say[6])
        tap("bbox_head.transformer.proposals", proposals[0] if proposals else ())
        said, states, references = [], [], [reference]
        for i in range(6):
            with scope(f"transformer.decoder.layers.{i}"):
                x = layer(x, place, on_levels(reference, seen.filled), memory, seen)
            said.append(say[i](x, reference))
            reference = move(reference, said[-1][1])
            states.append(x)
            references.append(reference)
        tap("bbox_head.transformer.decoder", (states, references))

    top, label, chosen = ops.select_top(ops.sigmoid(said[-1][0]), setting("score_threshold", 0.0), k=100)
    boxes = ops.gather_rows(queries.absolute(said[-1][1], image.size), chosen)

    def losses(logits: Value, relative: Value, labels: Value) -> Mapping[str, Value]:
        cost = 2.0 * ops.class_columns(queries.focal_cost(logits), labels)
        target = queries.match(image, cost, relative, labels, num_classes)
        classified = 2.0 * ops.total(ops.focal_loss(logits, target.labels)) / target.count
        return {"loss_cls": classified, **queries.box_losses(image, relative, target)}

    labels = image.truth.labels
    proposing = {f"enc_{k}": v for pair in proposals for k, v in losses(*pair, labels * 0).items()}
    return Detector(
        detections=queries.detections(image, boxes, top, label),
        losses={**proposing, **queries.every_layer(lambda logits, relative: losses(logits, relative, labels), said)},
    )


def layer(x: Value, place: Value, reference: Value, memory: Value, seen: Cells) -> Value:
    """Queries attend to one another, then read the levels around their references (fig. 2)."""
    return post_norm(
        x,
        lambda x: attend("attentions.0", x + place, x + place, x, rate=0.1),
        lambda x: attend_to_points("attentions.1", x + place, reference, memory, seen.inside, seen.levels),
        lambda x: feed_forward(x, 1024, rate=0.1), rate=0.1,
    )  # fmt: skip


def on_levels(reference: Value, filled: Value) -> Value:
    """References [N Q 2] or [N Q 4] in parts of the image, in parts of each map: [N Q E 2] or [N Q E 4]."""
    (n, q, k), e = reference.shape, filled.dim(1)
    both = filled if k == 2 else ops.concat(filled, filled, axis=2)
    return ops.reshape(reference, shape=(n, q, 1, k)) * ops.reshape(both, shape=(n, 1, e, k))


def head(name: str, classes: int, x: Value, reference: Value) -> Said:
    """Logits of classes, and a box that is told from the reference in logits of its parts (app. A.3)."""
    logits = dense(f"cls_branches.{name}", x, classes, bias_value=-math.log(99))
    with scope(f"reg_branches.{name}"):
        for layer in ("0", "2"):
            x = ops.relu(dense(layer, x, 256))
        moved = dense("4", x, 4)
    near = ops.log(ops.maximum(reference, 1e-5) / ops.maximum(1.0 - reference, 1e-5))
    moved = ops.concat(moved[:, :, :2] + near, moved[:, :, 2:], axis=2) if reference.dim(2) == 2 else moved + near
    return logits, ops.sigmoid(moved)
