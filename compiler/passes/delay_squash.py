"""best(sigmoid(x)) => sigmoid(best(x)) · best_index(sigmoid(x)) => best_index(x).

Also select_top(sigmoid(x), t) => select_top_logits(x, t).

The first part of the detect tail: the sigmoid is monotonic, so that selection may come before it and only survivors are
squashed.
"""

from __future__ import annotations

from typing import Any

from graphdet import ops
from graphdet.compiler.context import Context
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import Op
from graphdet.ir.walk import Builder, rebuild


def run(graph: Graph, context: Context) -> Graph:
    """Move sigmoids behind the selection that follows them."""

    def visit(node: Node, builder: Builder) -> None:
        rule = _RULES.get(node.name)
        source = node.inputs[0] if rule else None
        if rule is None or source is None:
            builder.put(node)
        elif source.node.name != "sigmoid":
            context.refuse("the scores do not come from a sigmoid", node)
            builder.put(node)
        else:
            context.rewrote(node)
            logits = source.node.inputs[0]
            assert logits is not None
            for old, new in zip(node.outputs, rule(node, builder.get(logits), builder), strict=True):
                builder.now[old] = new

    return rebuild(graph, visit)


def _apply(op: Op[..., Any], operands: tuple[Value | None, ...], node: Node, builder: Builder) -> tuple[Value, ...]:
    """An op at the place of a node, with the attributes of that node which it has."""
    attributes = {**op.defaults, **{k: v for k, v in node.attributes.items() if k in op.defaults}}
    types = op.infer_types(tuple(None if v is None else v.type for v in operands), attributes)
    made = Node.make(op, operands, attributes, types, node.places, node.scope)
    builder.nodes.append(made)
    return made.outputs


def _best(node: Node, logits: Value, builder: Builder) -> tuple[Value, ...]:
    return _apply(ops.sigmoid, _apply(ops.best, (logits,), node, builder), node, builder)


def _best_index(node: Node, logits: Value, builder: Builder) -> tuple[Value, ...]:
    return _apply(ops.best_index, (logits,), node, builder)


def _select(node: Node, logits: Value, builder: Builder) -> tuple[Value, ...]:
    threshold = node.inputs[1]
    return _apply(ops.select_top_logits, (logits, threshold and builder.get(threshold)), node, builder)


_RULES = {"best": _best, "best_index": _best_index, "select_top": _select}
