"""Which op of a segment is the first with wrong numbers: the segment is built again with every value as an output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from graphdet.compiler.backends.target import Target
from graphdet.compiler.oracle import evaluate
from graphdet.eval.parity import relative_error
from graphdet.ir.graph import Graph, Node
from graphdet.ir.op import NATIVE
from graphdet.ir.types import FLOATS
from graphdet.ir.walk import LEAVES
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment


def first_divergence(
    graph: Graph, target: Target, inputs: Mapping[str, Array], tolerance: float
) -> tuple[Node, float] | None:
    """The first node at which the engine differs from the reference, and by how much of the largest value."""
    watched, nodes = _watched(graph)
    fed = {k: inputs[k] for k in graph.inputs}
    expected = evaluate(watched, fed, {})
    for node, got, name in zip(nodes, _engine(watched, target, fed), watched.outputs, strict=True):
        error = relative_error(got, expected[name])
        if error > tolerance:
            return node, error
    return None


def first_leak(
    graph: Graph, target: Target, inputs: Mapping[str, Array], image: int, order: list[int], tolerance: float
) -> Node | None:
    """The first node at which an image of a batch differs from itself in the batch `order`, where it is first."""
    watched, nodes = _watched(graph)
    fed = {k: inputs[k] for k in graph.inputs}
    together = _engine(watched, target, fed)
    alone = _engine(watched, target, {k: v[order] if v.ndim else v for k, v in fed.items()})
    count = max(len(v) for v in fed.values() if v.ndim)
    for node, a, b in zip(nodes, together, alone, strict=True):
        if len(a) == count and relative_error(b[:1], a[image : image + 1]) > tolerance:
            return node
    return None


def _watched(graph: Graph) -> tuple[Graph, list[Node]]:
    """The graph with every float that stands in no order of score as an output, and the nodes that make them."""
    ranked: set[Node] = set()
    nodes = []
    for node in graph.nodes:
        if NATIVE in node.op.traits or any(v is not None and v.node in ranked for v in node.inputs):
            ranked.add(node)
        elif node.name not in LEAVES and node.outputs[0].type.dtype in FLOATS and node.outputs[0].type.rank:
            nodes.append(node)
    return replace(graph, outputs={f"probe{i}": n.outputs[0] for i, n in enumerate(nodes)}, taps={}), nodes


def _engine(graph: Graph, target: Target, inputs: dict[str, Array]) -> list[Array]:
    segment = open_segment(target.name, target.build(graph, {}))
    return [np.array(found) for found in segment.run(inputs)]
