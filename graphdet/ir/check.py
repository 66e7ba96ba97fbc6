"""The verifier: every invariant of a graph that passes and backends rely on, checked between passes."""

from __future__ import annotations

from graphdet.errors import BadGraph, GdError
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import TRAIN
from graphdet.ir.source import render

LEAVES = ("input", "param", "const")


def verify(graph: Graph) -> None:
    """Check that operands are defined before use, names are unique, types follow from the ops' rules, outputs exist.

    An inference graph may not hold TRAIN ops. Raises BadGraph naming the node and its line.
    """
    defined: set[Value] = set()
    names: set[tuple[str, str]] = set()
    for node in graph.nodes:
        for i, value in enumerate(node.inputs):
            if value is not None and value not in defined:
                raise _bad(node, f"operand {i} ({value!r}) is used before it is defined")
        if node.name in LEAVES:
            _check_leaf(node, names)
        else:
            _check_types(node)
        if graph.phase == "infer" and TRAIN in node.op.traits:
            raise _bad(node, "a TRAIN op stands in an inference graph")
        defined.update(node.outputs)
    for name, value in {**graph.outputs, **graph.taps}.items():
        if value not in defined:
            raise BadGraph(f"{graph.name}: output {name!r} is not in the graph")


def _check_leaf(node: Node, names: set[tuple[str, str]]) -> None:
    if node.name == "const":
        return
    key = (node.name, node.attributes["name"])
    if key in names:
        raise _bad(node, f"{key[0]} {key[1]!r} is declared twice")
    names.add(key)


def _check_types(node: Node) -> None:
    try:
        expected = node.op.infer_types(tuple(v and v.type for v in node.inputs), node.attributes)
    except GdError as error:
        raise _bad(node, f"operands do not fit: {error.message}") from None
    found = tuple(v.type for v in node.outputs)
    if expected != found:
        shown = ", ".join(map(str, expected))
        raise _bad(node, f"has type {', '.join(map(str, found))}, but its operands give {shown}")


def _bad(node: Node, text: str) -> BadGraph:
    return BadGraph(f"{node.name}: {text}", where=render(node.places))
