"""f32[N 3 H W] => f32[1 3 416 416].   Sizes that the build fixes replace their symbols; the others stay open."""

from __future__ import annotations

from graphdet.compiler.context import Context
from graphdet.errors import BadInput
from graphdet.ir.graph import Graph
from graphdet.ir.walk import substitute


def run(graph: Graph, context: Context) -> Graph:
    """Substitute the sizes of the build.

    Raises BadInput for one that is not a multiple of what the network divides by.
    """
    for name, size in context.sizes.items():
        multiple = graph.symbols[name].multiple if name in graph.symbols else 1
        if size < 1 or size % multiple:
            raise BadInput(
                f"{graph.name}: {name} = {size} is not a positive multiple of {multiple}",
                help=f"take {max(1, round(size / multiple)) * multiple}",
            )
    sizes = {k: v for k, v in context.sizes.items() if k in graph.symbols}
    for node in graph.nodes:
        if any(s.name in sizes for v in node.outputs for d in v.type.dims for s in d.symbols):
            context.rewrote(node)
    return substitute(graph, sizes) if sizes else graph
