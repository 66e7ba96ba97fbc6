"""Small detectors of the two families (points, anchors), weights by the parity kit's rule, builds that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from graphdet import ops
from graphdet.blocks.conv import conv, conv_module
from graphdet.blocks.rows import rows, to_cells
from graphdet.compiler.backends.target import find_target
from graphdet.ir import Detector, Found, Graph, Image, Value, constant, detector, row, scope, setting
from graphdet.ir.detector import Variant, trace
from graphdet.ir.graph import Node
from graphdet.ir.op import OPS
from graphdet.ir.types import Type, tensor
from graphdet.ir.walk import Builder, rebuild
from graphdet.records import Array, Preprocess
from tests.parity import kit

SMALL = Preprocess(mean=(110.0, 115.0, 120.0), std=(58.0, 57.0, 56.0), size=(64, 96), divisor=16)
CLASSES = ("disc", "ring", "bar")


def levels(image: Image) -> list[Value]:
    """Features of strides 8 and 16, four channels each."""
    with scope("body"):
        stem = conv_module("stem", image.pixels, 4, stride=4)
        fine = conv_module("fine", stem, 4, stride=2)
        return [fine, conv_module("coarse", fine, 4, stride=2)]


def found(boxes: Value, scores: Value, labels: Value, image: Image, *, keep: int = 0) -> Detector:
    """The end of every detector here: suppression and the original image's frame."""
    kept = ops.nms(boxes, scores, labels, setting("score_threshold", 0.3), setting("iou_threshold", 0.5), keep=keep)
    return Detector(Found(ops.to_image(kept[0], image.geometry), *kept[1:]), losses={})


def decoded(features: list[Value], image: Image) -> Detector:
    """Points to detections, as YOLOX does it."""
    maps = [conv(f"predict.{i}", f, 8, size=1) for i, f in enumerate(features)]
    whole = rows(maps, 8)
    points = ops.concat(*(ops.point_grid(f, stride=f.stride) for f in features), axis=0)
    boxes = ops.decode_points(points, whole[..., 0:4])
    classes = ops.sigmoid(whole[..., 4:7])
    scores = ops.best(classes) * ops.sigmoid(whole[..., 7])
    return found(boxes, scores, ops.best_index(classes), image)


@detector({"dots": row(SMALL, classes=CLASSES)})
def dots(image: Image) -> Detector:
    """Anchor-free, two levels."""
    return decoded(levels(image), image)


@detector({"leaky": row(SMALL, classes=CLASSES)})
def leaky(image: Image) -> Detector:
    """As `dots`, but every image sees the whole batch."""
    fine, coarse = levels(image)
    mixed = fine + ops.total(fine, axes=(0,))
    return decoded([mixed, coarse], image)


@detector({"anchored": row(SMALL, classes=CLASSES)})
def anchored(image: Image) -> Detector:
    """Two anchors a cell, two levels, the best 50 of each."""
    side = np.asarray([[-16, -16, 16, 16], [-24, -12, 24, 12]], np.float32)
    parts = []
    for i, level in enumerate(levels(image)):
        logits = to_cells(conv(f"cls.{i}", level, 6), 3)
        deltas = to_cells(conv(f"reg.{i}", level, 8), 4)
        anchors = ops.anchor_grid(level, constant(side), stride=level.stride)
        top, label, index = ops.select_top(ops.sigmoid(logits), setting("score_threshold", 0.3), k=50)
        boxes = ops.gather_rows(ops.decode_deltas(anchors, deltas), index)
        parts.append((ops.clip_boxes(boxes, image.size), top, label))
    boxes, scores, labels = (ops.concat(*column, axis=1) for column in zip(*parts, strict=True))
    return found(boxes, scores, labels, image, keep=20)


DETECTORS: Mapping[str, Variant] = {**dots.variants, **anchored.variants}
LEAKY = leaky.variants["leaky"]


def takes(graph: Graph, size: tuple[int, int]) -> bool:
    """Whether every level of a network has a cell at this input size."""
    sizes = {**graph.bounds, "N": 1, "H": size[0], "W": size[1]}
    return all(d.evaluate(sizes) > 0 for node in graph for v in node.outputs for d in v.type.dims)


def fill(graph: Graph, *, gain: float = 1.0, seed: int = 0) -> dict[str, Array]:
    """Values of all parameters and buffers of any graph, by the rule of the parity kit."""
    kinds = {name: "b" if value.node.attributes["buffer"] else "p" for name, value in graph.params.items()}
    shapes = {name: [int(d.constant or 0) for d in value.shape] for name, value in graph.params.items()}
    case = {"parameters": [(name, shapes[name], kind) for name, kind in kinds.items()], "seed": seed, "gain": gain}
    return kit.weights(case, graph)


def weights(variant: Variant, *, gain: float = 1.0) -> dict[str, Array]:
    """`fill` for a variant; its rule is for normalised pixels, so the first weight makes up for those in 0..255."""
    graph = trace(variant)
    values = fill(graph, gain=gain)
    first = next(name for name, array in values.items() if array.ndim == 4)
    values[first] = values[first] / np.float32(60 if max(variant.preprocess.std) == 1 else 1)
    return values


def inputs(count: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> dict[str, Array]:
    """Random graph inputs: noise, mixed unpadded sizes, a scale and an offset."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.5, 1, (count, 2)) * (height, width)
    geometry = np.concatenate([rng.uniform(0.5, 2, (count, 2)), rng.uniform(0, 4, (count, 2))], 1)
    pixels = rng.standard_normal((count, 3, height, width))
    arrays = {"pixels": pixels, "size": size, "geometry": geometry}
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def sabotage(monkeypatch: pytest.MonkeyPatch, change: Callable[[Graph], Graph]) -> None:
    """From now on every target builds its segments from a changed graph: a compiler that is wrong."""

    def wrong(name: str) -> object:
        target = find_target(name)
        return replace(target, build=lambda graph, params: target.build(change(graph), params))

    monkeypatch.setattr("graphdet.compiler.build.find_target", wrong)


def spoil_weight(scope_name: str, amount: float) -> Callable[[Graph], Graph]:
    """A change that adds `amount` to one element of the weight of the convolution in a scope."""

    def change(graph: Graph) -> Graph:
        def visit(node: Node, builder: Builder) -> None:
            if node.name != "conv2d" or node.scope != scope_name:
                builder.put(node)
                return
            weight = node.inputs[1]
            assert weight is not None
            array = weight.node.attributes["value"].copy()
            array.reshape(-1)[array.size // 2] += amount
            made = Node.make(OPS["const"], (), {"value": array}, (weight.type,), node.places, node.scope)
            builder.nodes.append(made)
            builder.now[weight] = made.outputs[0]
            builder.put(node)

        return rebuild(graph, visit)

    return change


def mix_images(scope_name: str) -> Callable[[Graph], Graph]:
    """A change that adds to the result of the convolution in a scope a hundredth of its total over the batch."""

    def change(graph: Graph) -> Graph:
        def visit(node: Node, builder: Builder) -> None:
            made = builder.put(node)
            if node.name != "conv2d" or node.scope != scope_name:
                return
            value = made.outputs[0]
            summed = _put(builder, "total", (value,), {"axes": (0,)}, node)
            share = _put(builder, "const", (), {"value": np.asarray(0.01, np.float32)}, node)
            part = _put(builder, "mul", (summed, share), {}, node)
            builder.now[node.outputs[0]] = _put(builder, "add", (value, part), {}, node)

        return rebuild(graph, visit)

    return change


def _put(builder: Builder, name: str, operands: tuple[Value, ...], attributes: dict[str, object], like: Node) -> Value:
    op = OPS[name]
    if name == "const":
        types: tuple[Type, ...] = (tensor("f32"),)
    else:
        types = op.infer_types(tuple(v.type for v in operands), attributes)
    made = Node.make(op, operands, attributes, types, like.places, like.scope)
    builder.nodes.append(made)
    return made.outputs[0]
