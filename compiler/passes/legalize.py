"""Expand ops that a target cannot run into ops that it can, and list those that remain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from graphdet.errors import NotLowerable, PassFailure
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import TRAIN, Op
from graphdet.ir.source import render
from graphdet.ir.trace import tracing
from graphdet.ir.walk import LEAVES, Builder, rebuild


def expand(graph: Graph, has_rule: Callable[[Op[..., Any]], bool], avoid: Collection[Node] = ()) -> Graph:
    """Replace each op without a rule by its decomposition, again and again, where it declares one; so too `avoid`.

    The new nodes keep places and scope of the one they replace. Raises PassFailure when a decomposition has other types
    than its op declares.
    """

    def visit(node: Node, builder: Builder) -> None:
        if node.name in LEAVES or (has_rule(node.op) and node not in avoid) or "decompose" not in node.op.rules:
            builder.put(node)
            return
        for old, new in zip(node.outputs, _decomposed(node, graph, builder, visit), strict=True):
            builder.now[old] = new

    return rebuild(graph, visit)


def _decomposed(
    node: Node, graph: Graph, builder: Builder, visit: Callable[[Node, Builder], None]
) -> tuple[Value, ...]:
    """Put the decomposition of a node; the values that stand for its results."""
    operands = [v and builder.get(v) for v in node.inputs]
    with tracing(graph.name, graph.phase) as opened:
        result = node.op.rules["decompose"](*operands, **node.attributes)
    values: tuple[Value, ...] = result if isinstance(result, tuple) else (result,)
    found, expected = tuple(v.type for v in values), tuple(v.type for v in node.outputs)
    if found != expected:
        raise PassFailure(
            f"{node.name} decomposes into {', '.join(map(str, found))}, but is {', '.join(map(str, expected))}",
            where=render(node.places),
        )
    for part in opened.nodes:
        inputs = tuple(v and builder.get(v) for v in part.inputs)
        types = tuple(v.type for v in part.outputs)
        made = Node.make(part.op, inputs, part.attributes, types, node.places, node.scope)
        visit(made, builder)
        for old, new in zip(part.outputs, made.outputs, strict=True):
            builder.now[old] = builder.get(new)
    return tuple(builder.get(v) for v in values)


def refuse_missing(
    target: str,
    nodes: Iterable[Node],
    has_rule: Callable[[Op[..., Any]], bool],
    reasons: Mapping[Node, object] = MappingProxyType({}),
) -> None:
    """Raise one NotLowerable that lists every op without a rule, or with a reason of its own not to be run.

    Each with its line, and why the target lacks it.
    """
    lines = []
    for node in nodes:
        if node.name not in LEAVES and (node in reasons or not has_rule(node.op)):
            usual = "only training needs it" if TRAIN in node.op.traits else "no lowering and no decomposition"
            reason = reasons.get(node) or node.op.absences.get(target, usual)
            lines.append(f"  {node.place or node.scope or '?'}: {node.name}: {reason}")
    if lines:
        text = f"{target} cannot run {len(lines)} op{'s' * (len(lines) > 1)}:\n" + "\n".join(dict.fromkeys(lines))
        raise NotLowerable(text, help="choose another target, or let the runtime's kernels run these ops")
