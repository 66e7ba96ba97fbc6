"""What `compile` returns: an artefact that can be written, read, inspected and run elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from graphdet import compiler, ops
from graphdet.compiler.build import canvas, static_size
from graphdet.errors import BackendMissing, BadInput, UnknownName
from graphdet.ir import Detector, Found, Image, detector, row
from graphdet.ir.check import verify
from graphdet.ir.detector import trace
from graphdet.records import Array
from graphdet.runtime import Engine, load, write_artefact
from graphdet.runtime.artefact import Artefact, read_artefact
from graphdet.runtime.header import Bounds
from tests.compiler import tiny

DOTS, ANCHORED = tiny.DETECTORS["dots"], tiny.DETECTORS["anchored"]
TARGETS = ("openvino", "onnxruntime", "onnx", "torch")


def build(variant: Any = DOTS, target: str = "onnxruntime", **options: Any) -> Artefact:
    """A certified artefact with the usual weights."""
    return compiler.compile(variant, tiny.weights(variant), target, **options)


def outputs(engine: Engine, count: int = 1, **thresholds: Any) -> dict[str, Array]:
    """What an engine says of random inputs."""
    arrays = tiny.inputs(count)
    return engine.run(arrays["pixels"], arrays["size"], arrays["geometry"], watch=None, **thresholds)


@pytest.mark.parametrize("target", TARGETS)
def test_round_trip_through_a_file(tmp_path: Path, target: str) -> None:
    artefact = build(ANCHORED, target)
    written = write_artefact(tmp_path / "x.gdet", artefact)
    again = read_artefact(tmp_path / "x.gdet")
    again.verify()
    assert again.header == written
    assert again.header.certificate == artefact.header.certificate
    expected, found = outputs(Engine(artefact)), outputs(load(tmp_path / "x.gdet"))
    assert expected["count"][0] > 0
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("target", TARGETS)
def test_a_lean_engine_says_the_same(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in a file, and memory given back after each run: neither changes a bit."""
    monkeypatch.setattr("graphdet.runtime.adapters.openvino.LARGE", 1)
    artefact = build(ANCHORED, target)
    expected, lean = outputs(Engine(artefact)), Engine(artefact, lean=True)
    assert expected["count"][0] > 0
    for found in (outputs(lean), outputs(lean)):
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_the_graph_can_be_read_back(name: str) -> None:
    artefact = build(tiny.DETECTORS[name])
    graph = compiler.graph_of(artefact)
    verify(graph)
    assert graph.hash == compiler.graph_of(build(tiny.DETECTORS[name])).hash
    assert list(graph.outputs) == ["boxes", "scores", "labels", "count"]
    assert not graph.params


def test_two_builds_have_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_artefact(tmp_path / name, build(ANCHORED, batch=2))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_header() -> None:
    header = build(batch="dynamic", size=(96, 64)).header
    assert (header.detector, header.target, header.classes) == ("dots", "onnxruntime", tiny.CLASSES)
    assert (header.input.batch, header.input.size) == (None, (96, 64))
    assert header.thresholds == {"score_threshold": pytest.approx(0.3), "iou_threshold": pytest.approx(0.5)}
    assert header.plan.memory["at"] == {"N": 1, "H": 96, "W": 64}


def test_provenance_follows_graph_and_weights() -> None:
    facts = build().header.provenance
    assert facts["graph"] == trace(DOTS).hash
    assert {"numpy", "onnxruntime", "torch"} <= set(facts["packages"])
    weights = tiny.weights(DOTS)
    assert build().header.provenance["weights"] == facts["weights"]
    weights["predict.0.bias"] = weights["predict.0.bias"] + np.float32(1e-6)
    assert (
        compiler.compile(DOTS, weights, "onnxruntime", certified=False).header.provenance["weights"] != facts["weights"]
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_thresholds_are_inputs_of_the_run(name: str, target: str) -> None:
    engine = Engine(build(tiny.DETECTORS[name], target))
    usual = outputs(engine)
    count = int(usual["count"][0])
    middle = float(np.median(usual["scores"][0, :count]))
    fewer = outputs(engine, score_threshold=middle)
    assert 0 < int(fewer["count"][0]) < count
    assert fewer["scores"][0, : int(fewer["count"][0])].min() > middle
    assert int(outputs(engine, iou_threshold=0.05)["count"][0]) < count
    assert int(outputs(engine, score_threshold=1.0)["count"][0]) == 0


@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_all_targets_say_the_same(name: str) -> None:
    found = {t: outputs(Engine(build(tiny.DETECTORS[name], t, batch="dynamic")), 3) for t in TARGETS}
    for target in TARGETS[1:]:
        np.testing.assert_array_equal(found[target]["count"], found["openvino"]["count"])
        np.testing.assert_allclose(found[target]["scores"], found["openvino"]["scores"], atol=1e-5)


@pytest.mark.parametrize("shape", [{"batch": 1}, {"batch": "dynamic", "size": "dynamic"}], ids=str)
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_portable_onnx_runs_without_graphdet(name: str, shape: dict[str, Any]) -> None:
    """One standard model: pixels and thresholds in, detections in image pixels out."""
    artefact = build(tiny.DETECTORS[name], "onnx", **shape)
    blob = artefact.blob("segment:dense0")
    model = onnx.load_from_string(blob)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert not model.functions
    assert {n.domain for n in model.graph.node} <= {"", "ai.onnx"}

    session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    assert {"pixels", "geometry", "score_threshold", "iou_threshold"} <= names <= {
        "pixels", "size", "geometry", "score_threshold", "iou_threshold",
    }  # fmt: skip
    engine = Engine(artefact)
    for score in (0.3, 0.5):
        arrays = {**tiny.inputs(1), "score_threshold": np.float32(score), "iou_threshold": np.float32(0.5)}
        fed = {k: np.asarray(v) for k, v in arrays.items() if k in names}
        plain = dict(zip([o.name for o in session.get_outputs()], session.run(None, fed), strict=True))
        expected = outputs(engine, score_threshold=score)
        assert expected["count"][0] > 0
        for key, value in artefact.header.plan.outputs.items():
            np.testing.assert_array_equal(plain[value], expected[key])


@detector({"one": row(tiny.SMALL, classes=("disc",))})
def one_class(image: Image) -> Detector:
    """The brightest cells: how many there are, and their labels, are known when a size is."""
    value = ops.best(ops.transpose(image.pixels, order=(0, 2, 3, 1)))
    n, h, w = value.shape
    rows = ops.reshape(value, shape=(n, h * w, 1))
    score = ops.reshape(ops.sigmoid(rows), shape=(n, h * w))
    boxes = ops.as_boxes(ops.concat(rows, rows, rows + 2.0, rows + 2.0, axis=2), format="xyxy", frame="net")
    labels = ops.cast(ops.expand(0.0, shape=(n, h * w)), to="i64")
    count = ops.total(labels + 1, axes=(1,))
    return Detector(Found(ops.to_image(boxes, image.geometry), score, labels, count), {})


@pytest.mark.parametrize("target", TARGETS)
def test_outputs_that_are_constants(tmp_path: Path, target: str) -> None:
    """No step makes them, so the file holds them; the portable model gives them itself."""
    variant = one_class.variants["one"]
    artefact = compiler.compile(variant, {}, target, batch=2, size=(16, 32))
    made = {name for step in artefact.header.plan.steps for name in step.outputs}
    held = {artefact.header.plan.outputs[k] for k in ("labels", "count")}
    assert (held & made, held & set(artefact.arrays("constants"))) == (
        (held, set()) if target == "onnx" else (set(), held)
    )
    write_artefact(tmp_path / "x.gdet", artefact)
    arrays = tiny.inputs(2, 16, 32)
    found = load(tmp_path / "x.gdet").run(arrays["pixels"], arrays["size"], arrays["geometry"])
    assert (found["count"].tolist(), found["labels"].shape, int(found["labels"].sum())) == ([512, 512], (2, 512), 0)


def test_uncertified_builds_say_so() -> None:
    assert build(certified=False).header.certificate == {}


def test_progress_is_told() -> None:
    told: list[str] = []
    build(progress=told.append)
    assert told[0] == "trace"
    assert told[-3:] == ["partition", "build", "certify"]


def test_explain_tells_every_pass() -> None:
    explained = compiler.explain(DOTS)
    assert [r.name for r in explained.passes][:3] == ["bind_params", "bind_dims", "drop_dead"]
    fused = next(r for r in explained.passes if r.name == "fuse_conv_norm")
    assert fused.changed == 3
    assert fused.as_dict()["rewrites"] == 3
    assert fused.after < next(r for r in explained.passes if r.name == "dedupe").before


def test_unknown_targets_and_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="openvin"):
        build(target="openvin")

    def absent(*_: object) -> bytes:
        raise ModuleNotFoundError("no module", name="onnx")

    monkeypatch.setattr("graphdet.compiler.backends.onnx.emit.emit", absent)
    with pytest.raises(BackendMissing, match="needs the package 'onnx'"):
        build()


def test_a_size_within_bounds() -> None:
    """They are in the file, memory is laid out for the most, and both ends are certified."""
    artefact = build(ANCHORED, "openvino", size=Bounds((64, 64), (96, 128)))
    header, engine = artefact.header, Engine(artefact)
    assert header.as_dict()["input"] == {"batch": 1, "size": "dynamic", "bounds": [[64, 64], [96, 128]]}
    assert header.plan.memory["at"] == {"N": 1, "H": 96, "W": 128}
    assert header.certificate["samples"] == [[1, 3, 64, 64], [1, 3, 96, 128]]
    wide = np.zeros((1, 3, 96, 144), np.float32)
    with pytest.raises(BadInput, match="pixels are 96x144, the engine was built for 64x64 to 96x128"):
        engine.run(wide, np.ones((1, 2), np.float32), np.ones((1, 4), np.float32))
    assert len(engine(np.zeros((20, 30, 3), np.uint8))) == 1
    for bad in (Bounds((64, 64), (48, 128)), Bounds((60, 64), (96, 128)), Bounds((0, 64), (96, 128))):
        with pytest.raises(BadInput, match=r"the bounds .* are no range of sizes of anchored"):
            build(ANCHORED, size=bad)


def test_sizes() -> None:
    assert canvas(DOTS) == (64, 96)
    assert static_size(DOTS, None) == (64, 96)
    assert static_size(DOTS, "dynamic") is None
    assert static_size(DOTS, (32, 32)) == (32, 32)
