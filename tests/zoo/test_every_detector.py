"""What holds for every detector of the zoo; a new file is covered without a new test."""

from __future__ import annotations

import inspect
import re

import pytest

from graphdet.errors import UnknownName
from graphdet.ir import Dim, trace, verify
from graphdet.ir.op import TRAIN
from graphdet.zoo import get, variants
from tests.test_budget import code_lines

PAPER = re.compile(r"arXiv:\d{4}\.\d{4,5}")
FUNCTIONS = {v.function.__name__: v.function for v in variants().values()}


@pytest.mark.parametrize("name", variants())
def test_both_phases_trace_and_verify(name: str) -> None:
    variant = get(name)
    infer, train = trace(variant, "infer"), trace(variant, "train")
    verify(infer)
    verify(train)
    assert set(infer.params) <= set(train.params)
    assert trace(variant, "infer").hash == infer.hash
    assert not any(TRAIN in node.op.traits for node in infer)


@pytest.mark.parametrize("name", variants())
def test_detections_are_typed(name: str) -> None:
    found = {k: v.type for k, v in trace(get(name), "infer").outputs.items()}
    assert list(found)[:4] == ["boxes", "scores", "labels", "count"]
    segments = {k: found.pop(k) for k in list(found) if k.startswith("segment_")}
    assert set(found) - {"masks"} == set(list(found)[:4])
    assert found["boxes"].meaning == "boxes<xyxy,image>"
    assert found["scores"].meaning == "scores"
    assert found["labels"].dtype == found["count"].dtype == "i64"
    batch, rows = found["scores"].dims
    assert found["boxes"].dims == (batch, rows, Dim.of(4))
    assert found["labels"].dims == (batch, rows)
    assert found["count"].dims == (batch,)
    if "masks" in found:
        assert found["masks"].meaning in ("masks<roi>", "masks<net>")
        assert found["masks"].dims[0] == batch
        assert found["masks"].rank == 4
    if segments:
        queries = segments["segment_scores"].dims
        assert [segments[f"segment_{k}"].dims for k in ("labels", "things")] == [queries, queries]
        assert segments["segment_logits"].dims[:2] == queries
        assert list(segments) == [f"segment_{k}" for k in ("scores", "labels", "things", "logits")]


@pytest.mark.parametrize("name", variants())
def test_losses_are_scalars(name: str) -> None:
    losses = trace(get(name), "train").outputs
    assert losses
    assert all(str(v.type) == "f32[]" for v in losses.values())


@pytest.mark.parametrize("name", variants())
def test_thresholds_are_run_time_inputs(name: str) -> None:
    inputs = trace(get(name), "infer").inputs
    assert {"pixels", "geometry", "score_threshold"} <= set(inputs)
    suppresses = any(node.name.endswith("nms") for node in trace(get(name), "infer"))
    assert suppresses == ("iou_threshold" in inputs)
    for threshold in {"score_threshold", "iou_threshold"} & set(inputs):
        assert 0 <= inputs[threshold].node.attributes["default"] <= 1


@pytest.mark.parametrize("name", variants())
def test_nothing_depends_on_the_size(name: str) -> None:
    graph = trace(get(name), "infer")
    assert {"N", "H", "W"} <= set(graph.symbols)
    assert graph.symbols["H"].multiple == get(name).preprocess.divisor


@pytest.mark.parametrize("name", variants())
def test_row(name: str) -> None:
    row, function = get(name).row, get(name).function
    classes = row.arguments.get("num_classes", inspect.signature(function).parameters["num_classes"].default)
    assert len(row.classes) == classes
    assert len(set(row.classes)) == classes
    assert row.ap is None or 1 < row.ap < 80


@pytest.mark.parametrize("name", FUNCTIONS)
def test_file_and_function(name: str) -> None:
    function = FUNCTIONS[name]
    module = inspect.getmodule(function)
    assert module is not None
    assert PAPER.search((module.__doc__ or "").splitlines()[0])
    assert code_lines(inspect.getsource(module)) <= 120
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert len(keywords) <= 8
    assert not any(isinstance(p.default, bool) for p in keywords)  # another topology is another function
    assert inspect.getdoc(function)


def test_names() -> None:
    assert get("yolox_s").name == "yolox_s"
    with pytest.raises(UnknownName) as caught:
        get("yolox-s")
    assert caught.value.help == "did you mean 'yolox_s'?"
