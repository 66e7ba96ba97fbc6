"""f(x), f(x) => f(x), used twice."""

from __future__ import annotations

from graphdet.compiler.context import Context
from graphdet.ir.graph import Graph, Node, Value, attribute_text
from graphdet.ir.walk import Builder, rebuild


def run(graph: Graph, context: Context) -> Graph:
    """Merge nodes of the same op, attributes and operands."""
    seen: dict[tuple[object, ...], Node] = {}

    def visit(node: Node, builder: Builder) -> None:
        operands: tuple[Value | None, ...] = tuple(v and builder.get(v) for v in node.inputs)
        attributes = tuple((k, attribute_text(v)) for k, v in sorted(node.attributes.items()))
        key = (node.name, attributes, operands)
        if key in seen:
            context.rewrote(node)
            builder.now.update(zip(node.outputs, seen[key].outputs, strict=True))
        else:
            seen[key] = builder.put(node)

    return rebuild(graph, visit)
