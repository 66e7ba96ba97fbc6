"""One small graph for each pass: what the golden texts show before and after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphdet import ops
from graphdet.blocks.conv import conv_module
from graphdet.ir import Graph, Value, constant
from graphdet.ir.dims import Dim
from graphdet.ir.trace import graph_input, setting, tracing
from graphdet.ir.types import Type, boxes, tensor

N = Dim.symbol("N")


def whole(kind: str = "tensor") -> Value:
    """A feature map of symbolic size, or class logits of rows."""
    if kind == "tensor":
        return graph_input("x", tensor("f32", N, 2, Dim.symbol("H", 8), Dim.symbol("W", 8)))
    return graph_input("x", Type("f32", (N, Dim.of(6), Dim.of(3)), kind))


def one_conv() -> dict[str, Value]:
    """A convolution, its norm and a ReLU."""
    return {"y": conv_module("stem", whole(), 3, size=1)}


def squashed() -> dict[str, Value]:
    """Every selection that may stand before a sigmoid."""
    scores = ops.sigmoid(whole("logits"))
    top, label, row = ops.select_top(scores, setting("threshold", 0.1), k=4)
    return {"best": ops.best(scores), "which": ops.best_index(scores), "top": top, "label": label, "row": row}


def decoded_rows() -> dict[str, Value]:
    """Rows picked from decoded boxes."""
    anchors = graph_input("anchors", boxes("net", 6, 4))
    deltas = graph_input("deltas", tensor("f32", N, 6, 4))
    index = graph_input("index", tensor("i64", N, 2))
    return {"y": ops.gather_rows(ops.decode_deltas(anchors, deltas), index)}


def folded() -> dict[str, Value]:
    """A grid over a map of known size, and arithmetic on constants."""
    x = graph_input("x", tensor("f32", N, 2, 2, 3))
    row = constant(np.asarray([1.0, 2.0], np.float32)) * 2.0
    return {"points": ops.point_grid(x, stride=8), "sum": graph_input("z", tensor("f32", N, 2)) + row}


def twice() -> dict[str, Value]:
    """The same computed twice."""
    x = whole()
    return {"y": ops.sigmoid(x) * ops.relu(x) + ops.sigmoid(x)}


def dead() -> dict[str, Value]:
    """A value that nobody needs."""
    x = whole()
    ops.sigmoid(x)
    return {"y": ops.relu(x)}


Snippet = tuple[Callable[[], dict[str, Value]], tuple[str, ...], Mapping[str, int]]
SNIPPETS: Mapping[str, Snippet] = {  # pass: graph, passes before it, sizes
    "bind_params": (one_conv, (), {}),
    "bind_dims": (one_conv, (), {"N": 1, "H": 16, "W": 24}),
    "drop_dead": (dead, (), {}),
    "dedupe": (twice, (), {}),
    "fold_constants": (folded, (), {}),
    "fuse_conv_norm": (one_conv, ("bind_params",), {}),
    "delay_squash": (squashed, (), {}),
    "gather_first": (decoded_rows, (), {}),
}


def graph_of(build: Callable[[], dict[str, Value]]) -> Graph:
    """The snippet, traced."""
    with tracing(build.__name__, "infer") as opened:
        outputs: dict[str, Any] = build()
    return opened.graph(outputs)
