"""One ONNX model per graph: every size, every runtime, names, places, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from graphdet.compiler.backends.numpy.execute import execute
from graphdet.compiler.backends.onnx.emit import emit, to_bytes
from graphdet.compiler.backends.target import TARGETS, find_target
from graphdet.compiler.passes.legalize import expand
from graphdet.errors import BadWeights, NotLowerable, PassFailure, UnknownName
from graphdet.ir import OPS, Dim, Graph, boxes, constant, op, parameter, scope, setting, tensor, tracing
from graphdet.ir.graph import Value
from graphdet.ir.trace import graph_input
from graphdet.ir.types import Type
from graphdet.ir.walk import substitute
from graphdet.ops import (
    anchor_grid,
    batch_norm,
    bce,
    concat,
    conv2d,
    decode_deltas,
    gather_rows,
    iou,
    nms,
    reshape,
    select_top,
    select_top_logits,
    sigmoid,
    silu,
    transpose,
    upsample,
)
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment

CELL = np.asarray([[-16, -16, 16, 16], [-24, -12, 24, 12]], np.float32)
Params = dict[str, Array]


def layer(x: Value, width: int, size: int = 3, stride: int = 1) -> Value:
    x = conv2d(x, parameter("weight", width, x.dim(1).constant or 0, size, size), stride=stride, padding=size // 2)
    statistics = [parameter(name, width) for name in ("gamma", "beta", "mean", "var")]
    return silu(batch_norm(x, *statistics))


def network(selecting: bool = False) -> tuple[Graph, dict[str, Value]]:
    """A tiny one-level detector with a neck; returns the graph and some of its inner values."""
    with tracing("tiny", "infer") as opened:
        height, width = Dim.symbol("H", 16), Dim.symbol("W", 16)
        x = graph_input("pixels", tensor("f32", Dim.symbol("N"), 3, height, width))
        threshold = setting("score_threshold", 0.05) if selecting else None
        if selecting:
            graph_input("size", tensor("f32", Dim.symbol("N"), 2))  # no result depends on it
        with scope("stem"):
            low = layer(x, 4, stride=2)
        with scope("deep"):
            deep = layer(low, 6, stride=2)
        with scope("neck"):
            joined = concat(upsample(deep, scale=2), low, axis=1)
        with scope("head"):
            with scope("out"):
                flat = layer(joined, 2 * 7, size=1)
            n = flat.dim(0)
            rows = reshape(transpose(flat, order=(0, 2, 3, 1)), shape=(n, -1, 7))
            anchors = anchor_grid(joined, constant(CELL), stride=2)
            outputs = {"boxes": decode_deltas(anchors, rows[..., :4]), "scores": sigmoid(rows[..., 4:])}
            if threshold is not None:
                scores, labels, index = select_top_logits(rows[..., 4:], threshold, k=20)
                kept = nms(gather_rows(outputs["boxes"], index), scores, labels, 0.1, 0.5, keep=5)
                outputs = dict(zip(("boxes", "scores", "labels", "count"), kept, strict=True))
    return opened.graph(outputs), {"neck": joined, "anchors": anchors}


def weights(graph: Graph) -> Params:
    rng = np.random.default_rng(0)
    found = {}
    for name, value in graph.params.items():
        array = rng.normal(0, 0.3, [d.constant or 0 for d in value.shape]).astype(np.float32)
        found[name] = np.abs(array) + 0.5 if name.endswith("var") else array
    return found


def images(n: int, h: int, w: int) -> dict[str, Array]:
    pixels = np.random.default_rng(n + h + w).standard_normal((n, 3, h, w)).astype(np.float32)
    return {"pixels": pixels}


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_one_model_runs_at_every_size(target: str) -> None:
    graph, inner = network()
    params = weights(graph)
    segment = open_segment(target, to_bytes(emit(graph, params, extra=inner)), threads=1)
    for n, h, w in [(1, 16, 16), (2, 32, 48), (3, 64, 16), (1, 48, 80)]:
        inputs = images(n, h, w)
        found = segment.run(inputs)
        expected = execute(graph, inputs, params, values=[*graph.outputs.values(), *inner.values()])
        for array, wanted in zip(found, expected.values(), strict=True):
            assert array.shape == wanted.shape
            np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-4)


def test_whole_network_with_selection() -> None:
    graph, _ = network(selecting=True)
    params = weights(graph)
    segment = open_segment("onnx", find_target("onnx").build(graph, params), threads=1)
    for n, h, w in [(1, 16, 16), (2, 32, 48)]:
        inputs = {
            **images(n, h, w),
            "size": np.zeros((n, 2), np.float32),
            "score_threshold": np.asarray(0.05, np.float32),
        }
        for array, wanted in zip(segment.run(inputs), execute(graph, inputs, params).values(), strict=True):
            assert array.shape == wanted.shape
            np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-4)


def test_model_is_standard_and_names_speak() -> None:
    onnx = pytest.importorskip("onnx")
    graph, inner = network(selecting=True)
    model = emit(graph, weights(graph), extra=inner)
    onnx.checker.check_model(model, full_check=True)
    assert {n.domain for n in model.graph.node} == {""}
    assert [o.name for o in model.graph.output] == ["boxes", "scores", "labels", "count", "neck", "anchors"]
    shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    assert shapes == {"pixels": ["N", 3, "H", "W"], "size": ["N", 2], "score_threshold": []}
    assert {"stem.weight", "head.out.gamma"} <= {i.name for i in model.graph.initializer}
    stem = next(n for n in model.graph.node if n.op_type == "Conv")
    assert stem.name.startswith("stem/conv2d/Conv")
    assert stem.doc_string.startswith("backends/test_onnx.py:")


def test_the_same_graph_gives_the_same_bytes() -> None:
    models = []
    for _ in range(2):
        graph, inner = network(selecting=True)
        models.append(to_bytes(emit(graph, weights(graph), extra=inner)))
    assert models[0] == models[1]


def test_equal_constants_and_sizes_are_written_once() -> None:
    graph, _ = network()
    model = emit(graph, weights(graph))
    contents = [(i.data_type, tuple(i.dims), i.raw_data) for i in model.graph.initializer if i.name not in graph.params]
    assert len(contents) == len(set(contents))
    reads = [(tuple(n.input), str(n.attribute)) for n in model.graph.node if n.op_type == "Shape"]
    assert len(reads) == len(set(reads))


def trace_of(function: Callable[..., Mapping[str, Value]], **inputs: Type) -> Graph:
    with tracing("part", "train") as opened:
        outputs = function(**{k: graph_input(k, t) for k, t in inputs.items()})
    return opened.graph(dict(outputs))


def test_outputs_that_are_inputs_constants_or_one_value_twice() -> None:
    def part(x: Value) -> Mapping[str, Value]:
        y = x + 1.0
        return {"same": x, "one": y, "two": y, "fixed": constant(CELL), "more": y * 2.0}

    graph = trace_of(part, x=tensor("f32", Dim.symbol("N"), 2))
    x = np.ones((3, 2), np.float32)
    for target in ("onnxruntime", "openvino"):
        same, one, two, fixed, more = open_segment(target, to_bytes(emit(graph, {})), threads=1).run({"x": x})
        np.testing.assert_array_equal(same, x)
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(fixed, CELL)
        np.testing.assert_array_equal(more, x * 4)


def test_sizes_of_a_segment_whose_inputs_are_inner_values() -> None:
    """H itself stands in no shape; H/8 and rows of H/8*W/8*2 do."""
    n, h, w = Dim.symbol("N"), Dim.symbol("H", 32), Dim.symbol("W", 32)

    def part(level: Value, small: Value) -> Mapping[str, Value]:
        rows = reshape(transpose(level, order=(0, 2, 3, 1)), shape=(n, h // 8 * (w // 8) * 2, 3))
        scores, _, index = select_top(sigmoid(rows), 0.0, k=1000)
        anchors = anchor_grid(small, constant(CELL), stride=16)
        return {"scores": scores, "index": index, "anchors": anchors}

    graph = trace_of(part, level=tensor("f32", n, 6, h // 8, w // 8), small=tensor("f32", n, 1, h // 16 + 1, w // 16))
    segment = open_segment("onnxruntime", to_bytes(emit(graph, {})), threads=1)
    for sizes in ({"N": 1, "H": 32, "W": 64}, {"N": 2, "H": 96, "W": 320}):
        rng = np.random.default_rng(0)
        arrays = {
            k: rng.standard_normal([d.evaluate(sizes) for d in v.shape]).astype(np.float32)
            for k, v in graph.inputs.items()
        }
        # The oracle cannot read H off H/8, so it gets the graph with its sizes put in.
        expected = execute(substitute(graph, sizes), arrays, {}).values()
        for array, wanted in zip(segment.run(arrays), expected, strict=True):
            np.testing.assert_allclose(array, wanted, rtol=1e-5, atol=1e-6)


def test_all_ops_without_a_form_are_listed_at_once() -> None:
    def part(a: Value, b: Value) -> Mapping[str, Value]:
        overlap = iou(a, b)
        return {"overlap": overlap, "loss": bce(overlap, overlap)}

    kind = boxes("net", Dim.symbol("N"), 4)
    with pytest.raises(NotLowerable) as error:
        emit(trace_of(part, a=kind, b=kind), {})
    text = str(error.value)
    assert "onnx cannot run 2 ops" in text
    assert "iou: only losses need it" in text
    assert "bce: only training needs it" in text
    assert text.count("backends/test_onnx.py:") == 2


def test_missing_and_misshapen_parameters() -> None:
    graph, _ = network()
    params = weights(graph)
    with pytest.raises(BadWeights, match=r"stem\.weight.*is missing"):
        emit(graph, {k: v for k, v in params.items() if k != "stem.weight"})
    with pytest.raises(BadWeights, match=r"stem\.weight.*has shape \[4, 3\]"):
        emit(graph, {**params, "stem.weight": np.zeros((4, 3), np.float32)})


def test_expand_keeps_places_and_checks_types() -> None:
    graph, _ = network(selecting=True)
    expanded = expand(graph, lambda op: op.name != "select_top_logits")
    before = next(n for n in graph if n.name == "select_top_logits")
    after = next(n for n in expanded if n.name == "select_top")
    assert (after.places, after.scope) == (before.places, before.scope)
    assert expand(graph, lambda _: True).nodes == graph.nodes

    def narrower(x: Value) -> Value:
        """For this test."""
        return x

    bad = op("f[N C] -> f[N C]")(narrower)
    try:
        bad.decompose(lambda x: x[:, 1:])
        made = trace_of(lambda x: {"y": bad(x)}, x=tensor("f32", Dim.symbol("N"), 3))
        with pytest.raises(PassFailure, match="narrower decomposes into"):
            expand(made, lambda o: "onnx" in o.rules)
    finally:
        del OPS["narrower"]


@pytest.mark.parametrize("name", TARGETS)
def test_targets(name: str) -> None:
    target = find_target(name)
    assert target.name == name
    assert target.install.startswith("pip install ")
    assert target.dense(OPS["conv2d"])
    assert not target.dense(OPS["match_iou"])
    assert target.dense(OPS["nms"]) == target.selection


def test_unknown_target() -> None:
    with pytest.raises(UnknownName, match="did you mean 'openvino'"):
        find_target("openvine")
