"""param => const.   The trained values become part of the graph, so that every later pass may compute with them."""

from __future__ import annotations

from graphdet.compiler.context import Context
from graphdet.errors import BadWeights
from graphdet.ir.graph import Graph, Node
from graphdet.ir.op import OPS
from graphdet.ir.types import numpy_dtype
from graphdet.ir.walk import Builder, rebuild


def run(graph: Graph, context: Context) -> Graph:
    """Replace parameters by their values. Raises BadWeights for one that has none."""

    def visit(node: Node, builder: Builder) -> None:
        if node.name != "param":
            builder.put(node)
            return
        name, type = node.attributes["name"], node.outputs[0].type
        if name not in context.params:
            raise BadWeights(f"parameter {name!r} has no value; expected {type}", help="pass weights with this name")
        value = context.params[name].astype(numpy_dtype(type.dtype), copy=False)
        context.rewrote(node)
        made = Node.make(OPS["const"], (), {"value": value}, (type,), node.places, node.scope)
        builder.nodes.append(made)
        builder.now[node.outputs[0]] = made.outputs[0]

    return rebuild(graph, visit)
