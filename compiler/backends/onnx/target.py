"""The whole network, selection included, as one ONNX model for any runtime that reads standard ONNX."""

from __future__ import annotations

from collections.abc import Mapping

from graphdet.compiler.backends.target import Target
from graphdet.ir.graph import Graph
from graphdet.records import Array

OPSET = 18


def build(graph: Graph, params: Mapping[str, Array]) -> bytes:
    """A graph as the bytes of an ONNX model. Raises NotLowerable and BadWeights as `emit` does."""
    from graphdet.compiler.backends.onnx.emit import emit, to_bytes  # loads the onnx package

    return to_bytes(emit(graph, params))


TARGET = Target(
    name="onnx",
    dtypes=("f32",),
    opset=OPSET,
    install="pip install onnxruntime",
    build=build,
    selection=True,
    notes=(
        "one file, standard operators alone: other runtimes can read it",
        "NonMaxSuppression ranks equal scores in an order that the standard leaves open",
    ),
)
