"""The certificate: a wrong engine does not pass, and the op at fault is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import product

import numpy as np
import pytest

from graphdet import compiler, zoo
from graphdet.errors import BadImage, BadInput, BadWeights, BatchLeak, GdError, ParityFailure
from graphdet.ir.detector import Variant, trace
from graphdet.ir.graph import Graph, Node
from graphdet.ir.op import OPS
from graphdet.ir.walk import Builder, rebuild
from graphdet.records import Array
from tests.compiler import tiny
from tests.compiler.conftest import merged

SERVING = ("openvino", "onnxruntime", "onnx")
DOTS, ANCHORED = tiny.DETECTORS["dots"], tiny.DETECTORS["anchored"]


def failure(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Graph], Graph], *arguments: object, **options: object
) -> GdError:
    """What a sabotaged build says."""
    tiny.sabotage(monkeypatch, change)
    with pytest.raises((ParityFailure, BatchLeak)) as caught:
        compiler.compile(*arguments, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("target", SERVING)
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_one_wrong_weight_fails_the_build(monkeypatch: pytest.MonkeyPatch, name: str, target: str) -> None:
    variant = tiny.DETECTORS[name]
    error = failure(monkeypatch, tiny.spoil_weight("body.fine", 0.1), variant, tiny.weights(variant), target)
    assert isinstance(error, ParityFailure)
    assert "first op to differ is conv2d (body.fine)" in error.message
    assert 'fine = conv_module("fine"' in error.where


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_one_wrong_weight_amid_a_network(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    variant = zoo.get("yolox_scenes")
    middle = "backbone.stage3.0.pointwise_conv"
    error = failure(monkeypatch, tiny.spoil_weight(middle, 0.3), variant, tiny.weights(variant, gain=1.4), target)
    assert f"first op to differ is conv2d ({middle})" in error.message
    assert re.search(r"backbones/csp\.py:\d+\n.*block\(", error.where)


@pytest.mark.parametrize("target", ["onnxruntime", "torch"])
@pytest.mark.parametrize("batch", [2, "dynamic"])
def test_an_op_over_the_batch_axis_is_found(target: str, batch: int) -> None:
    with pytest.raises(BatchLeak, match="first op to differ is add") as caught:
        compiler.compile(tiny.LEAKY, tiny.weights(tiny.LEAKY), target, batch=batch)
    assert "ops.total(fine, axes=(0,))" in caught.value.where
    assert "^^^" in caught.value.where


@pytest.mark.parametrize("target", SERVING)
@pytest.mark.parametrize("batch", [2, 3, "dynamic"])
def test_an_engine_that_mixes_images_is_found(monkeypatch: pytest.MonkeyPatch, target: str, batch: int) -> None:
    error = failure(monkeypatch, tiny.mix_images("body.fine"), DOTS, tiny.weights(DOTS), target, batch=batch)
    assert isinstance(error, BatchLeak)
    assert "(body.fine)" in error.message


@pytest.mark.parametrize(("batch", "counts"), [(1, [1, 1, 1]), (2, [2, 2]), ("dynamic", [2, 2])])
def test_images_of_the_caller_are_what_is_compared(batch: int, counts: list[int]) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape, np.uint8) for shape in ((50, 80, 3), (90, 40, 3), (64, 96, 3))]
    options = {"batch": batch, "size": (64, 96), "images": images}
    made = compiler.compile(DOTS, tiny.weights(DOTS), "onnxruntime", **options).header.certificate  # type: ignore[arg-type]
    assert made["samples"] == [[n, 3, 64, 96] for n in counts]
    with pytest.raises(BadImage, match="image 0 has dtype float64"):
        compiler.compile(DOTS, tiny.weights(DOTS), "onnxruntime", images=[images[0] / 255])


def test_an_engine_that_finds_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detections are compared, not only what flows between the steps."""

    def blind(graph: Graph) -> Graph:
        def visit(node: Node, builder: Builder) -> None:
            made = builder.put(node)
            if node.name == "nms":
                scores = node.outputs[3]
                zero = Node.make(OPS["sub"], (scores, scores), {}, (scores.type,), node.places)
                builder.nodes.append(zero)
                builder.now[made.outputs[3]] = zero.outputs[0]

        return rebuild(graph, visit)

    error = failure(monkeypatch, blind, DOTS, tiny.weights(DOTS), "onnx")
    assert "misses" in error.message


@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "onnx", "torch"])
@pytest.mark.parametrize(
    "shape",
    [{"batch": 1}, {"batch": 4}, {"batch": "dynamic", "size": "dynamic"}, {"batch": 1, "size": "dynamic"}],
    ids=str,
)
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_sound_builds_pass(name: str, target: str, shape: dict[str, object]) -> None:
    variant = tiny.DETECTORS[name]
    artefact = compiler.compile(variant, tiny.weights(variant), target, **shape)  # type: ignore[arg-type]
    facts = artefact.header.certificate
    several = shape["batch"] != 1
    assert facts["reference"] == "torch on the unoptimised graph"
    assert facts["max_error"] < facts["tolerance"] == 1e-4
    assert facts["detections_compared"] >= 20
    assert facts["dtypes"] == ["f32", "i64"] or set(facts["dtypes"]) >= {"f32"}
    assert (facts["batch_error"] is not None) == several
    assert facts["samples"][0][0] == {1: 1, 4: 4, "dynamic": 2}[shape["batch"]]
    assert len(facts["samples"]) == (2 if shape.get("size") == "dynamic" else 1)
    crossing = {name for step in artefact.header.plan.steps for name in step.outputs}
    assert set(facts["errors"]) <= crossing


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "onnx", "torch"])
@pytest.mark.parametrize("shape", [{"batch": 1}, {"batch": 4}, {"batch": "dynamic", "size": "dynamic"}], ids=str)
def test_yolox_nano_passes(target: str, shape: dict[str, object]) -> None:
    variant = zoo.get("yolox_nano")
    artefact = compiler.compile(variant, tiny.weights(variant), target, **shape)  # type: ignore[arg-type]
    assert artefact.header.certificate["detections_compared"] > 100


QUICK = ("centernet_r18", "detr_r50", "ssdlite_mobilenetv2")  # these stand for all where time is short
FIRST = {variant.function.__name__: name for name, variant in list(zoo.variants().items())[::-1]}  # of each table
OTHERS = (  # rows with other ops than the first of their table
    "centernet_r18_dcnv2", "deformable_detr_refine_r50", "deformable_detr_twostage_refine_r50", "fcos_center_r50_caffe",
    "fcos_improved_r50_caffe", "mask2former_r50_panoptic", "solov2_light_r18", "ssdlite_mobilenetv2",
    "yolov3_mobilenetv2_320",
)  # fmt: skip


def fitting_sizes(variant: Variant) -> list[tuple[int, int]]:
    """The two smallest of some input sizes that the network can take."""
    graph, found = trace(variant), []
    for size in ((64, 64), (96, 128), (320, 320), (288, 352)):
        if all(side % variant.preprocess.divisor == 0 for side in size) and tiny.takes(graph, size):
            found.append(size)
    return found[:2]


@lru_cache(maxsize=1)
def weights_of(name: str) -> dict[str, Array]:
    """Those of one variant, for all targets in a row."""
    return tiny.weights(zoo.get(name))


@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "onnx", "torch"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in QUICK else pytest.mark.nightly)
        for name in (*FIRST.values(), *OTHERS)
    ],
)
def test_every_detector_passes(name: str, target: str) -> None:
    variant = zoo.get(name)
    weights, sizes = weights_of(name), fitting_sizes(variant)
    assert len(sizes) == 2
    for size, batch in product(sizes, (1, 4)):
        facts = compiler.compile(variant, weights, target, batch=batch, size=size).header.certificate
        assert facts["max_error"] < 1e-4
        assert facts["detections_compared"] > 0


def test_records_are_merged() -> None:
    before = {"graph": "a", "targets": ["openvino", "onnx"]}
    ran = {"onnx": False, "torch": True}
    assert merged(before, ran, "a") == {"graph": "a", "targets": ["openvino", "torch"]}
    assert merged(before, ran, "b") == merged({}, ran, "b") == {"graph": "b", "targets": ["torch"]}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "batch"), [("openvino", 1), ("onnxruntime", 1), ("onnxruntime", 2)])
def test_two_stages_pass(target: str, batch: int) -> None:
    variant = zoo.get("faster_rcnn_r50")
    artefact = compiler.compile(variant, tiny.weights(variant), target, batch=batch, size=(64, 64))
    assert artefact.header.certificate["max_error"] < 1e-4
    kinds = [type(step).__name__ for step in artefact.header.plan.steps]
    assert kinds.count("SegmentStep") >= 2, "proposals are native steps between the two networks"


def test_without_torch_the_numpy_references_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphdet.compiler.oracle.oracle", lambda: "numpy")
    monkeypatch.setattr("graphdet.compiler.certify.oracle", lambda: "numpy")
    facts = compiler.compile(ANCHORED, tiny.weights(ANCHORED), "onnxruntime").header.certificate
    assert facts["reference"] == "numpy on the unoptimised graph"
    assert facts["max_error"] < 1e-5
    assert facts["detections_compared"] == 20
    error = failure(monkeypatch, tiny.spoil_weight("body.fine", 0.1), ANCHORED, tiny.weights(ANCHORED), "onnxruntime")
    assert "conv2d (body.fine)" in error.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    weights = tiny.weights(DOTS)
    weights["body.fine.conv.weight"] = weights["body.fine.conv.weight"].copy()
    weights["body.fine.conv.weight"][1, 2, 0, 0] = value
    weights["predict.0.bias"] = np.full(8, value, np.float32)
    with pytest.raises(BadWeights, match=r"'body\.fine\.conv\.weight' holds 1 of 144 values .* and 1 parameters? more"):
        compiler.compile(DOTS, weights)


def test_weights_that_do_not_fit_are_refused() -> None:
    weights = tiny.weights(DOTS)
    short = {k: v for k, v in weights.items() if k != "predict.0.bias"}
    with pytest.raises(BadWeights, match=r"1 missing:\n\s+predict\.0\.bias"):
        compiler.compile(DOTS, short)
    with pytest.raises(BadWeights, match=r"predict\.0\.bias has \[7\], wanted \[8\]"):
        compiler.compile(DOTS, {**weights, "predict.0.bias": np.zeros(7, np.float32)})
    with pytest.raises(BadWeights, match="surplus"):
        compiler.compile(DOTS, {**weights, "other.weight": np.zeros(7, np.float32)})


def test_an_impossible_size_is_refused() -> None:
    with pytest.raises(BadInput, match="W = 100 is not a positive multiple of 16"):
        compiler.compile(DOTS, tiny.weights(DOTS), size=(64, 100))
    with pytest.raises(BadInput, match="N = 0"):
        compiler.compile(DOTS, tiny.weights(DOTS), batch=0)
