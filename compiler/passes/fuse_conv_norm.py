"""conv2d -> batch_norm => conv2d with scaled weight and shifted bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphdet.compiler.context import Context
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import OPS
from graphdet.ir.walk import Builder, rebuild


def run(graph: Graph, context: Context) -> Graph:
    """Fold batch norms with stored statistics into the convolution before them, in float64."""

    def visit(node: Node, builder: Builder) -> None:
        conv = _convolution(node, graph, builder, context) if node.name == "batch_norm" else None
        if conv is None:
            builder.put(node)
            return
        context.rewrote(node)
        gamma, beta, mean, var = (_array(builder.get(v)) for v in node.inputs[1:] if v is not None)
        scale = gamma / np.sqrt(var + node.attributes["eps"])
        weight, bias = conv.inputs[1], conv.inputs[2]
        assert weight is not None
        shift = (0.0 if bias is None else _array(bias)) - mean
        arrays = (_array(weight) * scale[:, None, None, None], shift * scale + beta)
        fused = [_constant(np.asarray(a, np.float32), node, builder) for a in arrays]
        made = Node.make(
            conv.op, (conv.inputs[0], *fused), conv.attributes, (node.outputs[0].type,), conv.places, conv.scope
        )
        builder.nodes.append(made)
        builder.now[node.outputs[0]] = made.outputs[0]

    return rebuild(graph, visit)


def _convolution(node: Node, graph: Graph, builder: Builder, context: Context) -> Node | None:
    """The convolution that feeds a batch norm and nothing else, if all numbers are known."""
    before = node.inputs[0]
    assert before is not None
    if before.node.name != "conv2d":
        context.refuse(f"a {before.node.name} stands before the norm, not a conv2d", node)
    elif len(graph.uses[before]) > 1 or before in graph.outputs.values():
        context.refuse("the convolution's result is used elsewhere too", node)
    else:
        conv = builder.get(before).node
        values = [builder.get(v) for v in (*node.inputs[1:], *conv.inputs[1:]) if v is not None]
        if all(v.node.name == "const" for v in values):
            return conv
        context.refuse("weights or statistics are not known at compile time", node)
    return None


def _array(value: Value) -> Any:
    return np.asarray(value.node.attributes["value"], np.float64)


def _constant(array: Any, like: Node, builder: Builder) -> Value:
    from graphdet.ir.types import tensor

    made = Node.make(
        OPS["const"],
        (),
        {"value": np.ascontiguousarray(array)},
        (tensor("f32", *array.shape),),
        like.places,
        like.scope,
    )
    builder.nodes.append(made)
    return made.outputs[0]
