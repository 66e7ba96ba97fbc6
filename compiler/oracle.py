"""What a graph means in numbers: by PyTorch (what was trained) where it is installed, else by the ops' references."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np

from graphdet.compiler.backends.numpy import execute
from graphdet.ir.graph import Graph
from graphdet.ir.walk import live
from graphdet.records import Array


def oracle() -> str:
    """`torch` or `numpy`."""
    return "torch" if find_spec("torch") else "numpy"


def evaluate(graph: Graph, inputs: Mapping[str, Array], params: Mapping[str, Array]) -> dict[str, Array]:
    """Graph outputs by name. Inputs that the outputs do not need may be given too."""
    if oracle() == "numpy":
        found = execute(graph, inputs, params)
        return {k: found[v] for k, v in graph.outputs.items()}
    from graphdet.compiler.backends.torch.module import to_module  # torch is an extra
    from graphdet.compiler.backends.torch.segment import TorchSegment

    needed = live(graph)
    segment = TorchSegment(to_module(needed, params).eval(), tuple(graph.outputs))
    arrays = {k: np.ascontiguousarray(v) for k, v in inputs.items() if k in needed.inputs}
    return dict(zip(graph.outputs, segment.run(arrays), strict=True))
