"""f(const, const) => const.   Also ops that read only a value's shape (anchor grids), once that is a number."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphdet.compiler.backends.numpy.execute import run_node
from graphdet.compiler.context import Context
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import NATIVE, OPS, SHAPE, TRAIN
from graphdet.ir.types import numpy_dtype
from graphdet.ir.walk import Builder, rebuild

LARGEST = 1 << 24  # elements: beyond it a constant costs more memory than computing it again costs time


def run(graph: Graph, context: Context) -> Graph:
    """Compute what can be computed now, by the ops' references."""

    def visit(node: Node, builder: Builder) -> None:
        operands = _known(node, builder)
        if operands is None or node.name in ("input", "param", "const") or node.op.traits & {TRAIN, NATIVE}:
            builder.put(node)
            return
        if any(not _small(v) for v in node.outputs):
            context.refuse("the result is not of a fixed, moderate size", node)
            builder.put(node)
            return
        context.rewrote(node)
        for old, array in zip(node.outputs, run_node(node, operands, {}), strict=True):
            made = Node.make(
                OPS["const"], (), {"value": np.asarray(array, order="C")}, (old.type,), node.places, node.scope
            )
            builder.nodes.append(made)
            builder.now[old] = made.outputs[0]

    return rebuild(graph, visit)


def _known(node: Node, builder: Builder) -> list[Any] | None:
    """The operands as arrays, or None while one is not known."""
    arrays: list[Any] = []
    for i, value in enumerate(node.inputs):
        now = value and builder.get(value)
        if now is None:
            arrays.append(None)
        elif now.node.name == "const":
            arrays.append(now.node.attributes["value"])
        elif i == 0 and SHAPE in node.op.traits and all(d.constant is not None for d in now.type.dims[1:]):
            shape = tuple(d.constant or 1 for d in now.type.dims)  # the number of images does not reach the result
            arrays.append(np.broadcast_to(numpy_dtype(now.type.dtype).type(0), shape))  # only its shape is read
        else:
            return None
    return arrays


def _small(value: Value) -> bool:
    total = 1
    for d in value.type.dims:
        if d.constant is None:
            return False
        total *= d.constant
    return total <= LARGEST
