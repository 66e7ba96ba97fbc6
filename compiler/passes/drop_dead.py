"""a value that no output needs => nothing."""

from __future__ import annotations

from graphdet.compiler.context import Context
from graphdet.ir.graph import Graph
from graphdet.ir.walk import live


def run(graph: Graph, context: Context) -> Graph:
    """Remove dead nodes; inputs stay, since they are the engine's interface."""
    kept = set(live(graph).nodes)
    nodes = tuple(n for n in graph.nodes if n in kept or n.name == "input")
    for node in set(graph.nodes) - set(nodes):
        context.rewrote(node)
    return Graph(graph.name, graph.phase, nodes, graph.outputs, {k: v for k, v in graph.taps.items() if v.node in kept})
