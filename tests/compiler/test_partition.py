"""The plan: what is dense, what is native, what crosses between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphdet import ops
from graphdet.compiler.backends.numpy import execute
from graphdet.compiler.backends.target import TARGETS, find_target
from graphdet.compiler.driver import optimise
from graphdet.compiler.passes.partition import Partition, partition
from graphdet.errors import NotLowerable, UnknownName
from graphdet.ir import Graph
from graphdet.ir.check import verify
from graphdet.ir.detector import trace
from graphdet.ir.graph import Value
from graphdet.ir.op import NATIVE
from graphdet.ir.trace import graph_input, setting
from graphdet.ir.types import Type, boxes, tensor
from graphdet.runtime.adapters import open_segment
from graphdet.runtime.header import NativeStep, SegmentStep
from tests.compiler import snippets, tiny

OPENVINO = find_target("openvino")


def optimised(name: str, sizes: dict[str, int] | None = None) -> Graph:
    """A small detector after all passes."""
    graph = trace(tiny.DETECTORS[name])
    return optimise(graph, tiny.fill(graph), sizes or {}).graph


def split(build: Callable[[], dict[str, Any]], target: str = "openvino") -> Partition:
    """The plan of a snippet."""
    return partition(snippets.graph_of(build), find_target(target))


def shape_of(parts: Partition) -> list[str]:
    """The steps in short."""
    return [f"{s.segment}" if isinstance(s, SegmentStep) else s.op for s in parts.steps]


def candidates() -> tuple[Value, Value, Value]:
    """Inputs of a suppression."""
    n = snippets.N
    found = (
        graph_input("boxes", boxes("net", n, 6, 4)),
        graph_input("scores", Type("f32", (n, tensor("f32", 6).dims[0]), "scores")),
    )
    return (*found, graph_input("labels", tensor("i64", n, 6)))


def suppressed() -> tuple[Value, ...]:
    """A suppression of graph inputs."""
    kept: tuple[Value, ...] = ops.nms(*candidates(), setting("score_threshold", 0.1), setting("iou_threshold", 0.5))
    return kept


def test_points_detector() -> None:
    """All dense work in one segment, then suppression and the image frame; three values cross."""
    parts = partition(optimised("dots"), OPENVINO)
    assert shape_of(parts) == ["dense0", "nms", "to_image"]
    dense, nms, image = parts.steps
    assert dense.inputs == ("pixels",)
    assert set(nms.inputs) == {*dense.outputs, "score_threshold", "iou_threshold"}
    assert len(dense.outputs) == 3
    assert image.inputs == (nms.outputs[0], "geometry")
    assert parts.outputs["boxes"] == image.outputs[0]


def test_anchor_detector_decodes_survivors_natively() -> None:
    """Raw maps cross; selection, decoding, clipping, joining and suppression follow without a second segment."""
    parts = partition(optimised("anchored", {"N": 1, "H": 64, "W": 96}), OPENVINO)
    steps = shape_of(parts)
    assert steps[0] == "dense0"
    assert not [s for s in steps[1:] if s.startswith("dense")]
    assert sorted(set(steps[1:])) == [
        "clip_boxes",
        "concat",
        "decode_deltas",
        "gather_rows",
        "nms",
        "select_top",
        "to_image",
    ]
    assert len(parts.steps[0].outputs) == 4  # logits and deltas of two levels
    gathered = [
        s for s in parts.steps if isinstance(s, NativeStep) and s.op == "gather_rows" and s.inputs[0] in parts.constants
    ]
    assert len(gathered) == 2  # anchors, folded at this size
    assert all(parts.constants[s.inputs[0]].shape[1] == 4 for s in gathered if s.inputs[0])


def test_constants_are_those_that_native_steps_read() -> None:
    parts = partition(optimised("anchored", {"N": 1, "H": 64, "W": 96}), OPENVINO)
    read = {name for s in parts.steps if isinstance(s, NativeStep) for name in s.inputs}
    assert parts.constants
    assert set(parts.constants) <= read
    assert not set(parts.constants) & {name for s in parts.steps for name in s.outputs}


@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "torch"])
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_segments_are_graphs_whose_borders_are_the_steps(name: str, target: str) -> None:
    parts = partition(optimised(name), find_target(target))
    for step in parts.steps:
        if isinstance(step, SegmentStep):
            segment = parts.segments[step.segment]
            verify(segment)
            assert (tuple(segment.inputs), tuple(segment.outputs)) == (step.inputs, step.outputs)
            assert not any(NATIVE in n.op.traits for n in segment)


@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_the_portable_target_has_one_segment(name: str) -> None:
    parts = partition(optimised(name), find_target("onnx"))
    assert shape_of(parts) == ["dense0"]
    assert set(parts.steps[0].inputs) >= {"pixels", "geometry", "score_threshold", "iou_threshold"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_what_is_expanded_means_the_same(name: str, target: str) -> None:
    graph = optimised(name)
    after = partition(graph, find_target(target)).graph
    before, now = (execute(g, tiny.inputs(), {}) for g in (graph, after))
    for output, value in graph.outputs.items():
        np.testing.assert_allclose(now[after.outputs[output]], before[value], rtol=1e-5, atol=1e-5)


def test_a_return_to_dense_makes_a_second_segment() -> None:
    """An op without a kernel after a selection: a segment of its own, of the next depth."""

    def later() -> dict[str, Any]:
        kept = suppressed()
        return {"y": ops.square(kept[1]) + ops.exp(graph_input("z", tensor("f32", 1, 1)))}

    parts = split(later)
    assert shape_of(parts)[0] == "dense0"
    assert "nms" in shape_of(parts)
    assert shape_of(parts)[-1].startswith("dense")
    made: set[str] = set()
    for step in parts.steps:
        assert {n for n in step.inputs if n is not None and n.startswith("v")} <= made
        made |= set(step.outputs)


def test_an_output_that_is_a_graph_value_keeps_its_name() -> None:
    parts = split(lambda: dict(zip("abcd", suppressed(), strict=True)))
    assert [parts.outputs[k] for k in "abcd"] == list(parts.steps[-1].outputs)


def test_unknown_ops_are_listed_at_once_with_their_lines() -> None:
    def trained() -> dict[str, Any]:
        x = graph_input("x", tensor("f32", snippets.N, 6, 3))
        logits = graph_input("l", Type("f32", x.type.dims, "logits"))
        return {"y": ops.bce(logits, x), "z": ops.focal_loss(logits, graph_input("k", tensor("i64", snippets.N, 6)))}

    with pytest.raises(NotLowerable) as caught:
        split(trained, "onnxruntime")
    lines = caught.value.message.split("\n")
    assert lines[0].startswith("onnxruntime cannot run ")
    assert "bce" in caught.value.message
    assert "focal_loss" in caught.value.message
    assert all("test_partition.py:" in line and "only training needs it" in line for line in lines[1:])


def test_ops_that_a_target_must_not_get_are_refused() -> None:
    limited = replace(OPENVINO, limits={"exp": "wrong for large numbers in this version"})
    with pytest.raises(NotLowerable, match="exp"):
        partition(snippets.graph_of(lambda: {"y": ops.exp(snippets.whole())}), limited)


def test_targets_are_known_by_name() -> None:
    assert [find_target(name).name for name in TARGETS] == list(TARGETS)
    with pytest.raises(UnknownName) as caught:
        find_target("openvin")
    assert "openvino" in caught.value.help


@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "torch"])
def test_a_later_segment_takes_the_input_that_shows_its_sizes(target: str) -> None:
    """Selected rows of cells show only how many cells there are; the map's height is read off the image."""

    def drawn() -> dict[str, Value]:
        x = snippets.whole()
        n, c, h, w = x.shape
        cells = ops.reshape(x, shape=(n, c, h * w))
        score = ops.as_scores(ops.reshape(ops.best(cells), shape=(n, c, 1)))
        _, _, row = ops.select_top(score, setting("threshold", 0.0), k=1)
        rows = ops.gather_rows(cells, row)
        return {"y": ops.reshape(ops.exp(rows), shape=(n, row.dim(1), h, w))}

    parts = split(drawn, target)
    last = list(parts.segments.values())[-1]
    assert len(parts.segments) == 2
    assert "x" in last.inputs
    rows = np.arange(6 * 16 * 24, dtype=np.float32).reshape(6, 1, -1) / 2000
    segment = open_segment(target, find_target(target).build(last, {}), threads=1)
    fed = {k: rows if v.type.rank == 3 else np.zeros((6, 2, 16, 24), np.float32) for k, v in last.inputs.items()}
    np.testing.assert_allclose(segment.run(fed)[0], np.exp(rows).reshape(6, 1, 16, 24), rtol=1e-6)
    fixed = partition(optimise(snippets.graph_of(drawn), {}, {"N": 6, "H": 16, "W": 24}).graph, find_target(target))
    assert "x" not in list(fixed.segments.values())[-1].inputs
