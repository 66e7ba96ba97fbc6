"""Tracing: names of parameters, sharing, phases, taps, and what may not reach the detections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.errors import BadAttribute, BadDetector, DuplicateParameter, NoTrace, PhaseLeak, UnknownName
from graphdet.ir import (
    Detector,
    Dim,
    Found,
    Image,
    Value,
    by_phase,
    constant,
    detector,
    parameter,
    row,
    scope,
    setting,
    share,
    tap,
    tensor,
    trace,
    tracing,
    within,
)
from graphdet.ir.detector import find_variant, flat_losses, late_losses
from graphdet.ir.trace import current, graph_input, mark_train_only
from graphdet.records import Preprocess
from tests.ir.tiny import graph, tiny


def plain(image: Image) -> Value:
    return ops.relu(image.pixels)


def test_scopes_name_parameters() -> None:
    with tracing("mine") as opened:
        with scope("head"), scope(0):
            made = parameter("weight", 4, 3)
            assert opened.path == "head.0"
        assert opened.path == ""
        assert list(opened.params) == ["head.0.weight"]
        assert made.node.attributes["name"] == "head.0.weight"
        assert made.node.scope == "head.0"


def test_a_scope_closes_when_its_body_fails() -> None:
    with tracing("mine") as opened:
        with pytest.raises(ZeroDivisionError), scope("head"):
            _ = 1 / 0
        assert opened.path == ""


def test_a_parameter_is_declared_once() -> None:
    with tracing("mine"):
        parameter("weight", 3)
        with pytest.raises(DuplicateParameter) as caught:
            parameter("weight", 3)
    assert caught.value.where.count("test_trace.py:") == 2  # both declarations


def test_share_uses_parameters_again() -> None:
    with tracing("mine") as opened:
        x = graph_input("x", tensor("f32", Dim.symbol("N"), 3, 8, 8))
        head = share(lambda v, width: conv("head", v, width), 5)
        first, second = head(x), head(x)
        assert first.node.inputs[1] is second.node.inputs[1]
        assert list(opened.params) == ["head.weight", "head.bias"]
        with pytest.raises(DuplicateParameter):
            conv("head", x, 5)  # another function may not take them


def test_share_inside_share() -> None:
    with tracing("mine") as opened:
        inner = share(lambda: parameter("weight", 3))
        outer = share(lambda: (inner(), inner()))
        assert len({*outer(), *outer()}) == 1
        assert list(opened.params) == ["weight"]


def test_parameter_sizes_are_numbers() -> None:
    with tracing("mine"), pytest.raises(BadAttribute, match="must be numbers"):
        parameter("weight", Dim.symbol("N"))


def test_inputs_and_settings_are_declared_once() -> None:
    with tracing("mine"):
        assert setting("threshold", 0.5) is setting("threshold", 0.5)
        assert setting("threshold", 0.5).node.attributes["default"] == 0.5
        assert constant(np.arange(3)).type == tensor("i64", 3)


def test_taps_name_values() -> None:
    with tracing("mine") as opened:
        values = [constant(np.zeros(i)) for i in range(3)]
        assert tap("neck", values) is values
        assert list(opened.taps) == ["neck.0", "neck.1", "neck.2"]
        assert tap("pair", (values[:1], values[1])) == (values[:1], values[1])
        assert opened.taps["pair.0.0"] is values[0]
        made = within("part", lambda: parameter("weight", 2))
        assert opened.taps["part"] is made
        assert list(opened.params) == ["part.weight"]


def test_by_phase_calls_one_thunk() -> None:
    def never() -> Value:
        raise AssertionError

    for phase, other in (("train", "infer"), ("infer", "train")):
        with tracing("mine", phase) as opened:
            thunks: dict[str, Callable[[], Value]] = {
                phase: lambda: ops.relu(constant(np.zeros(2, np.float32))),
                other: never,
            }
            assert by_phase(**thunks).node in opened.phase_nodes


def test_traces_do_not_mix() -> None:
    with tracing("outer") as outer:
        with tracing("inner") as inner:
            assert current() is inner
        assert current() is outer
    with pytest.raises(NoTrace):
        current()
    with pytest.raises(UnknownName, match="unknown phase 'eval'"), tracing("mine", "eval"):
        pass


def test_inference_graph() -> None:
    infer = graph("infer")
    assert sorted(infer.inputs) == ["geometry", "iou_threshold", "pixels", "score_threshold"]
    assert list(infer.outputs) == ["boxes", "scores", "labels", "count"]
    assert not any(n.name == "match_simota" for n in infer)
    assert not any(name.startswith("truth") for name in infer.inputs)
    assert str(infer.params["stem.conv.weight"].type) == "f32[4 3 3 3]"
    assert set(infer.symbols) == {"H", "N", "W"}


def test_training_graph() -> None:
    train = graph("train")
    assert list(train.outputs) == ["cls.0", "overlap"]
    assert late_losses(tiny.variants["tiny"]) == {"overlap"}
    assert {"truth.boxes", "truth.labels", "truth.count"} <= set(train.inputs)
    assert not any(n.name == "nms" for n in train)
    assert list(train.params) == list(graph("infer").params)
    assert any(n.name == "batch_norm_train" for n in train)


def leaky(how: Callable[[Image, Found], Found]) -> Any:
    @detector({"leaky": row(Preprocess())})
    def function(image: Image) -> Detector:
        boxes = ops.as_boxes(ops.reshape(image.geometry, shape=(-1, 1, 4)), format="xyxy", frame="net")
        scores = ops.sigmoid(ops.total(image.pixels, axes=(1, 2, 3)))
        column = ops.reshape(scores, shape=(scores.dim(0), 1))
        return Detector(how(image, Found(*ops.nms(boxes, column, ops.best_index(boxes), 0.1, 0.5))), {})

    return function.variants["leaky"]


def test_ground_truth_may_not_reach_detections() -> None:
    def add_truth(image: Image, found: Found) -> Found:
        return Found(found.boxes, found.scores, found.labels, found.count + image.truth.count)

    with pytest.raises(PhaseLeak) as caught:
        trace(leaky(add_truth))
    assert "detections.count depends on 'truth.count'" in caught.value.message
    lines = caught.value.where.splitlines()
    assert lines[1].strip() == "return Found(found.boxes, found.scores, found.labels, found.count + image.truth.count)"
    assert lines[2].index("^") == lines[1].index("found.count + image")
    assert lines[2].count("^") == len("found.count + image.truth.count")
    assert "'truth.count' comes from" in lines[3]


def test_results_of_train_ops_may_not_reach_detections() -> None:
    def add_loss(image: Image, found: Found) -> Found:
        return Found(found.boxes, ops.bce(image.geometry, image.geometry), found.labels, found.count)

    with pytest.raises(PhaseLeak, match=r"detections\.scores depends on 'bce'"):
        trace(leaky(add_loss))


def test_values_marked_by_hand_may_not_reach_detections() -> None:
    with pytest.raises(PhaseLeak):
        trace(leaky(lambda image, found: Found(found.boxes, mark_train_only(found.scores), found.labels, found.count)))


def test_truth_that_flows_into_losses_alone_is_welcome() -> None:
    assert "boxes" in trace(leaky(lambda image, found: (image.truth, found)[1])).outputs


def test_other_results_than_a_detector() -> None:
    wrong = detector({"wrong": row(Preprocess())})(plain)  # type: ignore[arg-type]
    with pytest.raises(BadDetector, match="returned a Value"):
        trace(wrong.variants["wrong"])


def test_rows_fit_the_function() -> None:
    with pytest.raises(BadDetector, match="has no argument 'widht'") as caught:
        detector({"bad": row(Preprocess(), widht=3)})(tiny.function)
    assert caught.value.help == "did you mean 'width'?"

    def needs(image: Image, *, width: int) -> Detector:
        raise AssertionError

    with pytest.raises(BadDetector, match="missing a required argument"):
        detector({"bad": row(Preprocess())})(needs)


def test_variants() -> None:
    variant = tiny.variants["tiny"]
    assert variant.paper == "A small detector that every test of the graph can trace in a millisecond."
    assert trace(variant.with_arguments(width=16)).params["stem.conv.weight"].dim(0) == 16
    with pytest.raises(BadDetector) as caught:
        variant.with_arguments(witdh=16)
    assert caught.value.help == "did you mean 'width'?"
    with pytest.raises(UnknownName) as missing:
        find_variant(tiny.variants, "tinny")
    assert missing.value.help == "did you mean 'tiny'?"


def test_losses_of_levels_are_numbered() -> None:
    with tracing("mine"):
        a, b, c = (constant(np.zeros(())) for _ in range(3))
        assert flat_losses({"cls": [a, b], "box": c}) == {"cls.0": a, "cls.1": b, "box": c}
