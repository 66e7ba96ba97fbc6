"""What rounding decides: numbers so close that a comparison, or the order of a selection, may go either way.

An engine that takes the other side is as right as the reference, but all that follows is then made of other numbers. So
an engine is also followed: the unoptimised graph computes each value that crosses between steps, and each operand of an
op that decides, from the engine's own values before it. Both then decide on the same numbers, and nothing needs an
excuse: every value must be what the reference makes of the values before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from graphdet.compiler.backends.target import Target
from graphdet.compiler.oracle import evaluate
from graphdet.compiler.passes.partition import Partition
from graphdet.eval.parity import relative_error
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import NATIVE, OPS
from graphdet.ir.types import FLOATS, numpy_dtype
from graphdet.ir.walk import LEAVES, Builder, rebuild
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment

_TAKEN = "_taken"


def decisive(graph: Graph) -> set[Value]:
    """Operands of ops that turn floats into decisions: comparisons, indices, selections, boxes around masks."""
    found: set[Value] = set()
    for node in graph.nodes:
        decides = NATIVE in node.op.traits or node.name == "mask_bounds"
        if decides or any(v.type.dtype not in FLOATS for v in node.outputs):
            found |= {v for v in node.inputs if v is not None and v.type.dtype in FLOATS and v.node.name not in LEAVES}
    return found


def probe(
    parts: Partition, target: Target, inputs: Mapping[str, Array], values: Mapping[str, Array], wanted: set[str]
) -> dict[str, Array] | None:
    """Values inside the segments under their plan names, from the engine's own values between its steps.

    Each segment is built again with what is wanted of it as outputs; None where it then says something else.
    """
    found: dict[str, Array] = {}
    for graph in parts.segments.values():
        inside = {name: v for name, v in graph.taps.items() if name in wanted and name not in graph.outputs}
        if not inside:
            continue
        opened = open_segment(
            target.name, target.build(replace(graph, outputs={**graph.outputs, **inside}, taps={}), {})
        )
        made = opened.run({k: np.asarray(inputs.get(k, values.get(k)), order="C") for k in graph.inputs})
        said = {name: np.array(array) for name, array in zip([*graph.outputs, *inside], made, strict=True)}
        if any(not np.array_equal(said[name], values[name], equal_nan=True) for name in graph.outputs):
            return None
        found.update({name: said[name] for name in inside})
    return found


def follow(
    graph: Graph,
    origins: Mapping[Value, str],
    inputs: Mapping[str, Array],
    values: Mapping[str, Array],
    params: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[str, float]]:
    """Outputs that the engine's values lead to, by name, and by plan name the error of each value.

    Args:
        graph: the unoptimised graph.
        origins: plan names of its values.
        inputs: graph inputs, of one image.
        values: what the engine had under plan names, of that image.
        params: the weights.
    """
    made: dict[str, Value] = {}
    names: dict[str, str] = {}
    given: dict[str, Array] = {}

    def visit(node: Node, builder: Builder) -> None:
        now = builder.put(node)
        for old, new in zip(node.outputs, now.outputs, strict=True):
            name = origins.get(old, "")
            if node.name in LEAVES or name not in values:
                continue
            key = f"made{len(made)}"
            made[key], names[key] = new, name
            given[key + _TAKEN] = values[name].astype(numpy_dtype(old.type.dtype))
            attributes = {"name": key + _TAKEN, "type": str(old.type), "default": None}
            builder.nodes.append(Node.make(OPS["input"], (), attributes, (old.type,)))
            builder.now[old] = builder.nodes[-1].outputs[0]

    cut = rebuild(graph, visit)
    expected = evaluate(replace(cut, outputs={**cut.outputs, **made}, taps={}), {**inputs, **given}, params)
    errors: dict[str, float] = {}
    for key, name in names.items():
        found, wanted = given[key + _TAKEN], expected[key]
        exact = 0.0 if np.array_equal(found, wanted) else float("inf")
        error = relative_error(found, wanted) if wanted.dtype.kind == "f" else exact
        errors[name] = max(error, errors.get(name, 0.0))
    return {key: expected[key] for key in graph.outputs}, errors
