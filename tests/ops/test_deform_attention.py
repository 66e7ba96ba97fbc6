"""Deformable attention as backends run it, over levels whose sizes are open."""

from __future__ import annotations

import numpy as np
import pytest

from graphdet.compiler.backends.numpy.execute import execute
from graphdet.compiler.backends.onnx.emit import emit, to_bytes
from graphdet.ir import Dim, tensor, tracing
from graphdet.ir.trace import graph_input
from graphdet.ops import concat, deform_attention, reshape, transpose
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment
from tests.ops.cases import assert_same


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_attention_over_levels_of_unknown_size(backend: str) -> None:
    rng = np.random.default_rng(8)
    maps = [normal(rng, 2, 6, 5, 7), normal(rng, 2, 6, 3, 4)]
    where, weights = rng.uniform(-0.1, 1.1, (2, 9, 2, 2, 3, 2)), normal(rng, 2, 9, 2, 2, 3)
    arrays = {"a": maps[0], "b": maps[1], "where": where.astype(np.float32), "weights": weights}
    n, q = Dim.symbol("N"), Dim.symbol("Q")
    with tracing("attention") as opened:
        levels = [
            graph_input(name, tensor("f32", n, 6, Dim.symbol(f"H{name}"), Dim.symbol(f"W{name}"))) for name in "ab"
        ]
        rows = [reshape(transpose(x, order=(0, 2, 3, 1)), shape=(x.dim(0), -1, 2, 3)) for x in levels]
        at = graph_input("where", tensor("f32", n, q, 2, 2, 3, 2))
        factor = graph_input("weights", tensor("f32", n, q, 2, 2, 3))
        out = deform_attention(concat(*rows, axis=1), at, factor, *levels)
    graph = opened.graph({"y": out})
    found = open_segment(backend, to_bytes(emit(graph, {})), threads=1).run(arrays)
    assert_same(found, tuple(execute(graph, arrays, {}).values()))
