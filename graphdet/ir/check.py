"""The verifier: every invariant of a graph that passes and backends rely on, checked between passes."""

from __future__ import annotations

import numpy as np

from graphdet.errors import BadGraph, GdError
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import TRAIN
from graphdet.ir.source import render
from graphdet.ir.types import dtype_name, tensor
from graphdet.ir.walk import LEAVES, made_sizes


def verify(graph: Graph) -> None:
    """Check that operands are defined before use, names are unique, types follow from the ops' rules, outputs exist.

    An inference graph may not hold TRAIN ops. Raises BadGraph naming the node and its line.
    """
    defined: set[Value] = set()
    names: set[tuple[str, str]] = set()
    sizes: set[str] = set()
    for node in graph.nodes:
        for i, value in enumerate(node.inputs):
            if value is not None and value not in defined:
                raise _bad(node, f"operand {i} ({value!r}) is used before it is defined")
        _check_call(node)
        if node.name in LEAVES:
            _check_leaf(node, names)
        else:
            _check_types(node)
        _check_sizes(node, sizes)
        if graph.phase == "infer" and TRAIN in node.op.traits:
            raise _bad(node, "a TRAIN op stands in an inference graph")
        defined.update(node.outputs)
    for name, value in {**graph.outputs, **graph.taps}.items():
        if value not in defined:
            raise BadGraph(f"{graph.name}: output {name!r} is not in the graph")


def _check_leaf(node: Node, names: set[tuple[str, str]]) -> None:
    if len(node.outputs) != 1:
        raise _bad(node, f"has {len(node.outputs)} results, expected one")
    declared, found = node.attributes["value" if node.name == "const" else "type"], node.outputs[0].type
    if node.name == "const":
        held = tensor(dtype_name(declared.dtype), *declared.shape) if isinstance(declared, np.ndarray) else None
        if held is None or (held.dtype, held.dims) != (found.dtype, found.dims):
            raise _bad(node, f"has type {found}, but its array is another")
        return
    if declared != str(found):
        raise _bad(node, f"has type {found}, but declares {declared}")
    key = (node.name, node.attributes["name"])
    if key in names:
        raise _bad(node, f"{key[0]} {key[1]!r} is declared twice")
    names.add(key)


def _check_call(node: Node) -> None:
    """Attributes and the number of operands are the op's own."""
    odd = sorted(set(node.attributes) ^ set(node.op.defaults))
    if odd:
        raise _bad(node, f"attribute {odd[0]!r} is {'unknown' if odd[0] in node.attributes else 'missing'}")
    if not node.op.variadic and len(node.inputs) > len(node.op.operands):
        raise _bad(node, f"takes {len(node.op.operands)} operands, {len(node.inputs)} were given")


def _check_types(node: Node) -> None:
    absent = (None,) * (0 if node.op.variadic else len(node.op.operands) - len(node.inputs))
    try:
        expected = node.op.infer_types(
            (*(None if v is None else v.type for v in node.inputs), *absent), node.attributes
        )
    except GdError as error:
        raise _bad(node, f"operands do not fit: {error.message}") from None
    found = tuple(v.type for v in node.outputs)
    if expected != found:
        shown = ", ".join(map(str, expected))
        raise _bad(node, f"has type {', '.join(map(str, found))}, but its operands give {shown}")


def _check_sizes(node: Node, known: set[str]) -> None:
    """Sizes that neither operands nor attributes have are made by the node: of data, under a name of their own.

    `known` grows by what the node speaks of.
    """
    made = made_sizes(node)
    if made & known:
        raise _bad(node, f"makes the size {min(made & known)!r}, which is another's name")
    known |= {s.name for v in node.outputs for d in v.type.dims for s in d.symbols}


def _bad(node: Node, text: str) -> BadGraph:
    return BadGraph(f"{node.name}: {text}", where=render(node.places))
