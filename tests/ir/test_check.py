"""The verifier finds every broken invariant and names the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphdet import ops
from graphdet.errors import BadGraph
from graphdet.ir import Dim, Graph, Node, constant, tensor, tracing, verify
from graphdet.ir.trace import graph_input
from graphdet.ir.types import boxes
from tests.ir.tiny import graph


def find(g: Graph, name: str) -> int:
    return next(i for i, n in enumerate(g.nodes) if n.name == name)


def put(g: Graph, at: int, node: Node) -> Graph:
    """The graph with another node in a place; whatever used the old one keeps using it."""
    return replace(g, nodes=(*g.nodes[:at], node, *g.nodes[at + 1 :]))


def remake(node: Node, **changes: Any) -> Node:
    fields = {
        "op": node.op,
        "inputs": node.inputs,
        "attributes": node.attributes,
        "types": tuple(v.type for v in node.outputs),
        "places": node.places,
    }
    return Node.make(**{**fields, **changes})


def used_before_definition(g: Graph) -> Graph:
    at = find(g, "conv2d")
    nodes = list(g.nodes)
    nodes.append(nodes.pop(at))
    return replace(g, nodes=tuple(nodes))


def removed(g: Graph) -> Graph:
    at = find(g, "relu")
    return replace(g, nodes=(*g.nodes[:at], *g.nodes[at + 1 :]))


def parameter_twice(g: Graph) -> Graph:
    at = find(g, "param")
    return replace(g, nodes=(*g.nodes[: at + 1], remake(g.nodes[at]), *g.nodes[at + 1 :]))


def input_twice(g: Graph) -> Graph:
    return replace(g, nodes=(remake(g.nodes[0]), *g.nodes))


def wrong_type(g: Graph) -> Graph:
    at = find(g, "to_image")
    return put(g, at, remake(g.nodes[at], types=(boxes("net", *g.nodes[at].outputs[0].shape),)))


def wrong_result_count(g: Graph) -> Graph:
    at = find(g, "nms")
    return put(g, at, remake(g.nodes[at], types=tuple(v.type for v in g.nodes[at].outputs[:3])))


def wrong_operand(g: Graph) -> Graph:
    at = find(g, "to_image")
    node = g.nodes[at]
    return put(g, at, remake(node, inputs=(node.inputs[1], node.inputs[1])))


def missing_operand(g: Graph) -> Graph:
    at = find(g, "to_image")
    return put(g, at, remake(g.nodes[at], inputs=(g.nodes[at].inputs[0], None)))


def too_many_operands(g: Graph) -> Graph:
    at = find(g, "to_image")
    node = g.nodes[at]
    return put(g, at, remake(node, inputs=(*node.inputs, node.inputs[0])))


def too_few_operands(g: Graph) -> Graph:
    at = find(g, "to_image")
    return put(g, at, remake(g.nodes[at], inputs=g.nodes[at].inputs[:1]))


def unknown_attribute(g: Graph) -> Graph:
    at = find(g, "conv2d")
    return put(g, at, remake(g.nodes[at], attributes={**g.nodes[at].attributes, "strid": 2}))


def missing_attribute(g: Graph) -> Graph:
    at = find(g, "conv2d")
    return put(g, at, remake(g.nodes[at], attributes={}))


def odd_attribute(g: Graph) -> Graph:
    at = find(g, "transpose")
    return put(g, at, remake(g.nodes[at], attributes={"order": "abc"}))


def leaf_of_another_type(g: Graph) -> Graph:
    at = find(g, "param")
    node = remake(g.nodes[at], types=(tensor("f32", 7),))
    return replace(g, nodes=(*g.nodes[:at], node))


def leaf_without_a_name(g: Graph) -> Graph:
    return put(g, 0, remake(g.nodes[0], attributes={}))


def leaf_with_operands(g: Graph) -> Graph:
    at = find(g, "param")
    node = remake(g.nodes[at], inputs=(g.nodes[0].outputs[0],))
    return replace(g, nodes=(*g.nodes[:at], node))


def constant_of_another_shape(g: Graph) -> Graph:
    with tracing("mine") as opened:
        made = opened.graph({"y": constant(np.zeros((2, 3), np.float32))})
    return put(made, 0, remake(made.nodes[0], types=(tensor("f32", 3, 2),)))


def nothing_to_join(g: Graph) -> Graph:
    at = find(g, "concat")
    return put(g, at, remake(g.nodes[at], inputs=()))


def foreign_output(g: Graph) -> Graph:
    return replace(g, outputs={**g.outputs, "boxes": graph().outputs["boxes"]})


def foreign_tap(g: Graph) -> Graph:
    return replace(g, taps={"neck": graph().outputs["boxes"]})


def train_op_in_inference(g: Graph) -> Graph:
    return replace(graph("train"), phase="infer")


@pytest.mark.parametrize(
    ("breaks", "part"),
    [
        (used_before_definition, "is used before it is defined"),
        (removed, "is used before it is defined"),
        (parameter_twice, "param 'stem.conv.weight' is declared twice"),
        (input_twice, "input 'pixels' is declared twice"),
        (wrong_type, "to_image: has type boxes<xyxy,net>"),
        (wrong_result_count, "nms: has type"),
        (wrong_operand, "to_image: operands do not fit"),
        (missing_operand, "'geometry' is missing"),
        (too_many_operands, "takes 2 operands, 3"),
        (too_few_operands, "'geometry' is missing"),
        (unknown_attribute, "'strid'"),
        (missing_attribute, "attribute 'dilation' is missing"),
        (odd_attribute, "transpose: "),
        (leaf_of_another_type, "param: has type f32[7], but declares f32[4 3 3 3]"),
        (constant_of_another_shape, "const: has type f32[3 2]"),
        (nothing_to_join, "concat: operands do not fit"),
        (leaf_without_a_name, "input: attribute 'default' is missing"),
        (leaf_with_operands, "param: takes 0 operands, 1 were given"),
        (foreign_output, "output 'boxes' is not in the graph"),
        (foreign_tap, "output 'neck' is not in the graph"),
        (train_op_in_inference, "a TRAIN op stands in an inference graph"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_broken_graphs(breaks: Callable[[Graph], Graph], part: str) -> None:
    with pytest.raises(BadGraph) as caught:
        verify(breaks(graph()))
    assert part in str(caught.value)


@pytest.mark.parametrize("phase", ["infer", "train"])
def test_sound_graphs(phase: str) -> None:
    verify(graph(phase))


def test_the_line_is_shown() -> None:
    with pytest.raises(BadGraph) as caught:
        verify(wrong_type(graph()))
    assert "ir/tiny.py:" in caught.value.where
    assert "ops.to_image" in caught.value.where


def cut(*steps: tuple[int, ...]) -> Graph:
    """A graph that cuts one padding by one count after another."""
    n, m = Dim.symbol("N"), Dim.symbol("M", bound=4)
    with tracing("mine") as opened:
        padded, labels = graph_input("boxes", boxes("net", n, m, 4)), graph_input("labels", tensor("i64", n, m))
        counts = [graph_input(f"count{i}", tensor("i64", n)) for i in range(len(steps))]
        few = [ops.cut_padding(padded, labels, c, steps=s)[0] for c, s in zip(counts, steps, strict=True)]
    return opened.graph({f"few{i}": value for i, value in enumerate(few)})


def test_two_sizes_of_data_have_two_names() -> None:
    sound = cut((1, 4), (1, 8))
    verify(sound)
    assert sound.bounds == {"M": 4, "R4": 4, "R8": 8}
    with pytest.raises(BadGraph, match="cut_padding: makes the size 'R4', which is another's name"):
        verify(cut((1, 4), (2, 4)))
