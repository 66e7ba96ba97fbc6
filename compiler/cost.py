"""What a graph costs: multiply-adds of every node at concrete sizes, and their sums by scope.

A multiply-add counts once, as in the tables of most detection papers ("FLOPs" there). An op without a `flops` rule
counts its result's elements once; inputs, parameters and constants cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphdet.errors import UnknownName
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.walk import LEAVES


@dataclass(frozen=True)
class NodeCost:
    """Cost of one node: multiply-adds, and bytes of its results in memory."""

    node: Node
    multiply_adds: int
    bytes: int


def cost(graph: Graph, sizes: Mapping[str, int]) -> list[NodeCost]:
    """One record a node, in execution order.

    sizes: a number for each symbol of the graph (`{"N": 1, "H": 640, "W": 640}`); one with a bound may be left out and
    counts in full. Raises UnknownName for another symbol without a size.
    """
    sizes = {**graph.bounds, **sizes}
    missing = [name for name in graph.symbols if name not in sizes]
    if missing:
        raise UnknownName(f"{graph.name}: no size is given for {', '.join(missing)}")
    return [_cost(node, sizes) for node in graph.nodes]


def total(costs: Iterable[NodeCost]) -> int:
    """Multiply-adds of all nodes."""
    return sum(c.multiply_adds for c in costs)


def by_scope(costs: Iterable[NodeCost], depth: int = 1) -> dict[str, int]:
    """Multiply-adds by the first `depth` parts of the scope path; what stands in no scope has the name ''."""
    sums: dict[str, int] = {}
    for c in costs:
        scope = ".".join(c.node.scope.split(".")[:depth])
        sums[scope] = sums.get(scope, 0) + c.multiply_adds
    return {scope: n for scope, n in sums.items() if n}


def critical_path(costs: Iterable[NodeCost]) -> list[NodeCost]:
    """The most expensive chain of nodes that must follow one another, first to last.

    Its share of the total bounds what parallel execution of independent nodes can gain.
    """
    import networkx  # loaded only where graph algorithms are asked for

    records = {c.node: c for c in costs}
    order = networkx.DiGraph()
    order.add_nodes_from(records)
    for node, record in records.items():
        before = {v.node for v in node.inputs if v is not None}
        order.add_weighted_edges_from((b, node, record.multiply_adds) for b in before)
    return [records[node] for node in networkx.dag_longest_path(order)]


def count_parameters(graph: Graph) -> int:
    """Numbers that a detector learns; statistics and counters that it merely stores are not counted."""
    learned = (v for v in graph.params.values() if not v.node.attributes["buffer"])
    return sum(math.prod(d.evaluate({}) for d in v.shape) for v in learned)


def _cost(node: Node, sizes: Mapping[str, int]) -> NodeCost:
    out = [_shape(v, sizes) for v in node.outputs]
    elements = sum(map(math.prod, out))
    width = 8 if any(v.type.dtype == "i64" for v in node.outputs) else 4
    if node.name in LEAVES:
        return NodeCost(node, 0, elements * width)
    rule = node.op.rules.get("flops")
    operands = [None if v is None else _shape(v, sizes) for v in node.inputs]
    count = int(rule(*operands, out=out[0], **node.attributes)) if rule else elements
    return NodeCost(node, count, elements * width)


def _shape(value: Value, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(d.evaluate(sizes) for d in value.type.dims)
