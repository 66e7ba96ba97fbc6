"""Mask heads look at no more boxes than there are, rounded up to one of a few numbers; the masks stay the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from graphdet import compiler, zoo
from graphdet.compiler.backends.target import find_target
from graphdet.compiler.backends.torch import to_module
from graphdet.compiler.cost import by_scope, cost
from graphdet.compiler.driver import optimise
from graphdet.compiler.passes.partition import partition
from graphdet.compiler.passes.plan_memory import plan_memory
from graphdet.eval.parity import Objects, unmatched
from graphdet.ir import trace
from graphdet.ir.detector import Variant
from graphdet.records import Array
from graphdet.runtime import Engine
from graphdet.runtime.header import SegmentStep
from graphdet.zoo.backbones.resnet import ResNet
from tests.compiler import tiny

torch = pytest.importorskip("torch")

STEPS = (1, 4, 16, 32, 100)
LIMITS = {"score_threshold": 0.005, "iou_threshold": 0.5}


def small(name: str = "mask_rcnn_r50") -> Variant:
    """The detector on a small body."""
    return zoo.get(name).with_arguments(body=ResNet(18), width=16)


@cache
def engine(target: str) -> Engine:
    """An engine of any batch, compared with the reference as it was built."""
    return Engine(compiler.compile(small(), tiny.weights(small()), target, batch="dynamic", size=(64, 96)))


def detect(run: Engine, inputs: dict[str, Array], score: float) -> dict[str, Array]:
    """The padded outputs of an engine."""
    limits = {**LIMITS, "score_threshold": score}
    return run.run(inputs["pixels"], inputs["size"], inputs["geometry"], inputs=None, watch=None, **limits)


def thresholds(inputs: dict[str, Array]) -> dict[int, float]:
    """By number of objects a score that so many of the first image exceed."""
    (scores,) = detect(engine("onnxruntime"), {k: v[:1] for k, v in inputs.items()}, 0.0)["scores"]
    assert scores[-1] > 0
    middle = (scores[:-1] + scores[1:]) / 2
    return {0: 1.0, **{n: float(middle[n - 1]) for n in (1, 3, 5, 20, 60)}, 100: 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "onnx", "torch"])
def test_the_head_works_on_as_many_rows_as_there_are_boxes(target: str) -> None:
    inputs = tiny.inputs(1)
    module = to_module(trace(small()), tiny.weights(small())).eval()
    for count, score in thresholds(inputs).items():
        found = detect(engine(target), inputs, score)
        assert found["count"].tolist() == [count]
        assert found["masks"].shape == (1, next(s for s in STEPS if s >= count), 28, 28)
        with torch.no_grad():
            limits = {**LIMITS, "score_threshold": score}
            said = module(**{k: torch.from_numpy(np.asarray(v, np.float32)) for k, v in {**inputs, **limits}.items()})
        ours, theirs = Objects.of(found, 0), Objects.of({k: v.numpy() for k, v in said.items()}, 0)
        assert len(theirs.scores) == count
        assert not unmatched(theirs, ours, **limits)
        assert not unmatched(ours, theirs, **limits)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_images_of_a_batch_share_the_number_of_rows(target: str) -> None:
    inputs = tiny.inputs(3)
    score = thresholds(inputs)[20]
    together = detect(engine(target), inputs, score)
    rows = together["masks"].shape[1]
    assert rows == next(s for s in STEPS if s >= together["count"].max())
    for i in range(3):
        alone = detect(engine(target), {k: v[i : i + 1] for k, v in inputs.items()}, score)
        one, other = Objects.of(together, i), Objects.of(alone, 0)
        assert not unmatched(one, other, score_threshold=score)
        assert not unmatched(other, one, score_threshold=score)


def test_the_size_of_a_head_is_open_in_its_segment_alone() -> None:
    graph = trace(small())
    sizes = {"N": 1, "H": 64, "W": 96}
    parts = partition(optimise(graph, tiny.fill(graph), sizes).graph, find_target("openvino"))
    assert [s.segment if isinstance(s, SegmentStep) else s.op for s in parts.steps][-4:] == [
        "cut_padding", "roi_align_levels", "to_image", "dense4",
    ]  # fmt: skip
    assert {name for name, part in parts.segments.items() if part.symbols} == {"dense4"}
    assert set(parts.segments["dense4"].symbols) == {"R100"}
    (grids,) = (v for v in parts.segments["dense4"].inputs.values() if v.type.rank == 5)
    assert str(grids.type) == "f32[1 R100 16 14 14]"
    cells = 16 * 14 * 14 * 4
    assert plan_memory(parts, {**parts.graph.bounds, **sizes})["buffers"][grids.node.attributes["name"]]["bytes"] == (
        100 * cells
    )


@pytest.mark.parametrize("name", ["mask_rcnn_r50", "cascade_mask_rcnn_r50"])
def test_a_head_counts_in_full(name: str) -> None:
    sizes = {"N": 1, "H": 64, "W": 96}
    few, full = (by_scope(cost(trace(small(name)), {**sizes, **more}), 2) for more in ({"R100": 4}, {}))
    assert full["roi_head.mask_head"] == pytest.approx(25 * few["roi_head.mask_head"], rel=0.01)
    assert full["roi_head.bbox_head"] == few["roi_head.bbox_head"]
