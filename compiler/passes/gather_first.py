"""gather_rows(f(a, b), i) => f(gather_rows(a, i), gather_rows(b, i))   for row-wise f.

The second part of the detect tail: only the rows that were selected are decoded.
"""

from __future__ import annotations

from graphdet import ops
from graphdet.compiler.context import Context
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import ROWWISE
from graphdet.ir.walk import Builder, rebuild


def run(graph: Graph, context: Context) -> Graph:
    """Select rows before computing on them, through as many row-wise ops as stand there."""

    def visit(node: Node, builder: Builder) -> None:
        if node.name != "gather_rows":
            builder.put(node)
            return
        source, index = node.inputs
        assert source is not None
        assert index is not None
        builder.now[node.outputs[0]] = _gathered(source, builder.get(index), node, builder)

    def _gathered(source: Value, index: Value, node: Node, builder: Builder) -> Value:
        maker = source.node
        reason = _obstacle(source, graph)
        if reason:
            if ROWWISE in maker.op.traits:
                context.refuse(reason, node)
            return _gather(builder.get(source), index, node, builder)
        context.rewrote(node)
        operands = tuple(
            v and (_gathered(v, index, node, builder) if v.type.rank else builder.get(v)) for v in maker.inputs
        )
        types = maker.op.infer_types(tuple(None if v is None else v.type for v in operands), maker.attributes)
        made = Node.make(maker.op, operands, maker.attributes, types, maker.places, maker.scope)
        builder.nodes.append(made)
        return made.outputs[0]

    return rebuild(graph, visit)


def _obstacle(source: Value, graph: Graph) -> str:
    """Why rows of a value cannot be selected before it is computed; empty if they can."""
    maker = source.node
    if ROWWISE not in maker.op.traits:
        return f"{maker.name} does not work row by row"
    if any(user.name != "gather_rows" for user, _ in graph.uses[source]):
        return "all rows are needed elsewhere too"
    rows = source.type.dims[-2]
    if any(v is not None and v.type.rank and (v.type.rank < 2 or v.type.dims[-2] != rows) for v in maker.inputs):
        return f"an operand of {maker.name} has other rows"
    return ""


def _gather(source: Value, index: Value, node: Node, builder: Builder) -> Value:
    types = ops.gather_rows.infer_types((source.type, index.type), {})
    made = Node.make(node.op, (source, index), {}, types, node.places, node.scope)
    builder.nodes.append(made)
    return made.outputs[0]
