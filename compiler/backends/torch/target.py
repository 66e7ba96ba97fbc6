"""PyTorch as an engine: the artefact holds the typed graph and its weights, which become a module when it is opened."""

from __future__ import annotations

from collections.abc import Mapping

from graphdet.compiler.backends.target import Target
from graphdet.ir.graph import Graph
from graphdet.ir.text import arrays_of, to_text
from graphdet.records import Array
from graphdet.runtime.artefact import pack_arrays


def build(graph: Graph, params: Mapping[str, Array]) -> bytes:
    """Length of the graph text (8 bytes, little endian), the text, then parameters and constants as safetensors."""
    text = to_text(graph).encode()
    return len(text).to_bytes(8, "little") + text + pack_arrays({**params, **arrays_of(graph)})


TARGET = Target(
    name="torch",
    dtypes=("f32",),
    opset=0,
    install="pip install 'graphdet[train]'",
    build=build,
    rule="torch",
    notes=("for comparison and debugging; the other targets are faster",),
)
