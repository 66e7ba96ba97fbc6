"""The engine on a tiny detector whose boxes can be worked out by hand, on each CPU backend."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphdet.errors import (
    BackendMissing,
    BadImage,
    BadInput,
    CorruptArtefact,
    FutureArtefact,
    InternalError,
    PrecisionMismatch,
    UnknownName,
)
from graphdet.records import Array, Preprocess
from graphdet.runtime import Artefact, Engine, load, write_artefact
from graphdet.runtime import kernels as kernels_module
from graphdet.runtime.adapters import ADAPTERS, Adapter, open_segment
from graphdet.runtime.artefact import pack_arrays
from graphdet.runtime.header import Bounds, Given, Input, NativeStep
from graphdet.runtime.preprocess import from_dlpack, pictures, prepare
from tests.runtime.tiny import PARTS, artefact, external, header, plan, segment
from tests.runtime.tiny import given as tiny_given

pytest.importorskip("graphdet.runtime._C", reason="the kernel extension is not built")

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ["onnxruntime", "openvino"]


def photo(height: int, width: int, peak: int = 255) -> Array:
    """A dark image whose brightest part is `peak`."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: max(1, height // 2)] = peak
    return image


@pytest.fixture(params=BACKENDS)
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("batch", [None, 1, 2, 4])
@pytest.mark.parametrize("size", [None, (64, 96)])
def test_boxes_of_mixed_sizes(target: str, batch: int | None, size: tuple[int, int] | None) -> None:
    engine = Engine(artefact(target=target, input=Input(batch, size)), threads=1)
    shapes = [(64, 64), (480, 640), (640, 480), (33, 7), (1, 1)]
    found = engine([photo(*shape) for shape in shapes])
    assert [one.size for one in found] == shapes
    for one, (height, width) in zip(found, shapes, strict=True):
        expected = np.minimum(PARTS[[0, 2]], 1) * (width, height, width, height)
        pixel = max(width, height) / 64  # letterbox rounds sizes down, but scales boxes by the exact factor
        assert np.allclose(one.boxes, expected, atol=pixel)
        assert one.boxes.dtype == np.float32
        assert np.allclose(one.scores, [1.0, 0.5])
        assert one.labels.tolist() == [0, 1]
        assert one.labels.dtype == np.int64
        assert one.name(1) == "corner"


def test_images_of_a_batch_do_not_mix(target: str) -> None:
    engine = Engine(artefact(target=target, input=Input(4, None)))
    images = [photo(64, 64, peak) for peak in (255, 0, 102, 51, 204)]
    together, alone = engine(images), [engine(image)[0] for image in images]
    assert [len(one) for one in together] == [2, 0, 2, 1, 2]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.boxes, other.boxes)
        assert np.array_equal(one.scores, other.scores)


def test_thresholds_are_inputs(target: str) -> None:
    engine = Engine(artefact(target=target))
    assert len(engine(photo(64, 64), iou=1.0)[0]) == 3
    assert len(engine(photo(64, 64), score=0.6)[0]) == 1
    assert len(engine(photo(64, 64), score=1.0)[0]) == 0
    assert len(engine(photo(64, 64))[0]) == 2


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), float("inf"), "0.5"])
def test_thresholds_out_of_range(value: float) -> None:
    engine = Engine(artefact())
    with pytest.raises(BadInput, match="score_threshold"):
        engine([], score=value)


def test_threshold_that_the_engine_lacks() -> None:
    steps = plan().steps
    nms = replace(steps[1], inputs=("v0", "v1", "v2", "score_threshold", "score_threshold"))
    thresholds = {"score_threshold": 0.1}
    engine = Engine(artefact(thresholds=thresholds, plan=replace(plan(), steps=(steps[0], nms, steps[2]))))
    with pytest.raises(BadInput, match="no input 'iou_threshold'"):
        engine(photo(8, 8), iou=0.5)


def test_one_image_paths_and_nothing(tmp_path: Path) -> None:
    engine = Engine(artefact())
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), photo(48, 64))
    expected = engine(photo(48, 64))
    for images in (path, str(path), [path], (photo(48, 64),), iter([path])):
        found = engine(images)
        assert len(found) == 1
        assert np.array_equal(found[0].boxes, expected[0].boxes)
    assert engine([]) == []


def test_bad_image_is_named_by_its_place_in_the_list() -> None:
    engine = Engine(artefact(), chunk=2)
    with pytest.raises(BadImage, match="image 3 "):
        engine([photo(8, 8)] * 3 + [np.zeros((8, 8), np.int32)])


def test_without_clip_boxes_may_leave_the_image() -> None:
    found = Engine(artefact(clip=False))(photo(64, 64))[0]
    assert np.allclose(found.boxes[1], [32, 32, 80, 96])


def test_boxes_outside_the_image_are_dropped_by_clip() -> None:
    outside = NativeStep("to_image", ("v3", "shift"), ("v7",))
    steps = (*plan().steps[:2], outside)
    shift = np.array([[1, 1, 1000, 0]], np.float32)
    blobs = {**artefact().blobs, "constants": pack_arrays({"shift": shift})}
    engine = Engine(Artefact(header(plan=replace(plan(), steps=steps)), blobs))
    assert len(engine(photo(64, 64))[0]) == 0


def test_file_and_memory_agree(tmp_path: Path, target: str) -> None:
    write_artefact(tmp_path / "a.gdet", artefact(target=target))
    one, other = load(tmp_path / "a.gdet", threads=1)(photo(50, 70)), Engine(artefact(target=target))(photo(50, 70))
    assert np.array_equal(one[0].boxes, other[0].boxes)


def test_run_gives_padded_arrays_that_later_runs_leave_alone(target: str) -> None:
    engine = Engine(artefact(target=target))
    batch = prepare([photo(64, 64), photo(32, 64, 0)], engine.header.preprocess)
    out = engine.run(batch.pixels, batch.size, batch.geometry)
    kept = {name: array.copy() for name, array in out.items()}
    assert out["boxes"].shape == (2, 3, 4)
    assert out["count"].tolist() == [2, 0]
    assert out["labels"].tolist() == [[0, 1, -1], [-1, -1, -1]]
    engine.run(batch.pixels * 0, batch.size, batch.geometry, iou_threshold=1.0)
    assert all(np.array_equal(out[name], kept[name]) for name in kept)


def test_raw_segment_outputs_survive_later_runs(target: str) -> None:
    outputs = {"boxes": "v0", "scores": "v1", "labels": "v2", "count": "v6"}
    engine = Engine(artefact(target=target, plan=replace(plan(), outputs=outputs)))
    batch = prepare([photo(64, 64)], engine.header.preprocess)
    out = engine.run(batch.pixels, batch.size, batch.geometry)
    engine.run(batch.pixels * 0, batch.size, batch.geometry)
    assert np.allclose(out["scores"], [[1, 0.75, 0.5]])


@pytest.mark.parametrize(
    ("built", "shape", "words"),
    [
        (Input(2, None), (1, 3, 64, 64), "batch has 1 images"),
        (Input(None, (64, 64)), (1, 3, 64, 96), "64x96"),
        (Input(), (1, 3, 65, 64), "multiples of 32"),
        (Input(), (1, 3, 0, 64), "multiples of 32"),
        (Input(), (0, 3, 64, 64), "N at least 1"),
        (Input(), (1, 4, 64, 64), "pixels is f32"),
    ],
)
def test_run_checks_shapes(built: Input, shape: tuple[int, ...], words: str) -> None:
    engine = Engine(artefact(input=built))
    with pytest.raises(BadInput, match=words):
        engine.run(np.zeros(shape, np.float32), np.ones((1, 2), np.float32), np.ones((1, 4), np.float32))


def test_run_checks_the_other_inputs() -> None:
    engine, pixels = Engine(artefact()), np.zeros((1, 3, 32, 32), np.float32)
    size, geometry = np.ones((1, 2), np.float32), np.ones((1, 4), np.float32)
    with pytest.raises(BadInput, match="size is f32"):
        engine.run(pixels, np.ones((2, 2), np.float32), geometry)
    with pytest.raises(BadInput, match="geometry has dtype float64"):
        engine.run(pixels, size, geometry.astype(np.float64))
    with pytest.raises(BadInput, match="no input 'score'"):
        engine.run(pixels, size, geometry, score=0.5)


BOXES = [np.array([[1, 2, 30, 40], [0, 0, 8, 8]]), np.zeros((0, 4)), np.array([[3, 3, 9, 9.5]] * 3)]


@pytest.mark.parametrize("batch", [None, 2])
def test_proposals_come_with_images(target: str, batch: int | None) -> None:
    """Padded and counted by the engine; a batch may be filled up; no proposals are an input like any other."""
    engine = Engine(tiny_given(target, batch), chunk=2)
    images = [photo(64, 48), photo(50, 70), photo(40, 20)]
    assert engine.proposals == 3
    for found in (engine(images, proposals=BOXES), engine.submit(images, proposals=BOXES).result(60)):
        for one, boxes in zip(found, BOXES, strict=True):
            np.testing.assert_array_equal(one.boxes, boxes.astype(np.float32))
    assert len(engine(images[0], proposals=BOXES[0])[0]) == 2
    assert len(engine(images[0], proposals=[])[0]) == 0
    assert engine([], proposals=[]) == []


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (None, "image 0 comes without proposals, and tiny is given up to 3 for each image"),
        (BOXES[:2], "proposals for 2 of 3 images"),
        ([*BOXES[:2], np.zeros((4, 4))], "image 2 comes with 4 proposals, tiny takes up to 3"),
        ([*BOXES[:2], np.zeros((1, 5))], "proposals of image 2 have shape 1x5, expected Kx4"),
        ([*BOXES[:2], ["a"]], "proposals of image 2 are no boxes"),
        ([*BOXES[:2], [[0, 0, 1, 1], [0, 0, np.nan, 1]]], "proposal 1 of image 2 holds a number that is not finite"),
    ],
)
def test_proposals_that_cannot_be_used(boxes: Any, words: str) -> None:
    engine = Engine(tiny_given(), chunk=2)
    with pytest.raises(BadInput, match=words):
        engine([photo(8, 8)] * 3, proposals=boxes)
    with pytest.raises(BadInput, match="image 0 comes with proposals, and tiny takes none"):
        Engine(artefact())(photo(8, 8), proposals=BOXES[0])


def test_run_checks_what_comes_with_images() -> None:
    engine = Engine(tiny_given())
    batch = prepare([photo(64, 64)], engine.header.preprocess)
    images = (batch.pixels, batch.size, batch.geometry)
    good = {"proposals.boxes": np.ones((1, 3, 4), np.float32), "proposals.count": np.array([2])}
    assert engine.run(*images, inputs=good)["count"].tolist() == [2]
    for change, words in (
        ({"proposals.count": np.array([4])}, r"proposals\.count\[0\] is 4, expected 0\.\.3"),
        ({"proposals.count": np.array([1.0], np.float32)}, r"'proposals\.count' is f32\[1\], expected i64\[1\]"),
        ({"proposals.boxes": np.ones((1, 2, 4), np.float32)}, r"is f32\[1 2 4\], expected f32\[1 3 4\]"),
        ({"queries": np.ones((1, 2), np.float32)}, "no input 'queries'"),
    ):
        with pytest.raises(BadInput, match=words):
            engine.run(*images, inputs={**good, **change})
    with pytest.raises(BadInput, match=r"'proposals\.boxes' is not given, expected f32\[1 3 4\]"):
        engine.run(*images)


def test_what_images_cannot_carry_is_given_to_run() -> None:
    whole = tiny_given()
    rows = {**whole.header.input.given, "queries": Given("f32", (7,))}
    engine = Engine(replace(whole, header=replace(whole.header, input=Input(given=rows))))
    with pytest.raises(BadInput, match=r"tiny needs the input 'proposals\.boxes', which does not come with images"):
        engine(photo(8, 8), proposals=BOXES[0])


def test_bounds_of_an_open_size(target: str) -> None:
    """Small images are padded to the least size, large ones scaled to fit the most; `run` refuses other sizes."""
    engine = Engine(artefact(target=target, input=Input(bounds=Bounds((64, 96), (96, 96)))))
    fit = replace(engine.header.preprocess, size=(64, 128))
    wide = Engine(artefact(target=target, preprocess=fit, input=Input(bounds=Bounds((64, 96), (96, 96)))))
    expected = Engine(artefact(target=target))(photo(64, 32))[0]
    np.testing.assert_allclose(engine(photo(64, 32))[0].boxes, expected.boxes)
    for photos in ([photo(64, 64)], [photo(64, 64), photo(30, 90)]):
        ready = prepare(photos, fit, size=wide.header.input.bounds)
        assert ready.pixels.shape[2:] == (64, 96)
        assert ready.size.tolist() == [[64, 64], [32, 96]][: len(photos)]
        padded = wide.run(ready.pixels, ready.size, ready.geometry)
        for i, found in enumerate(wide(photos)):
            np.testing.assert_array_equal(found.scores, padded["scores"][i, : len(found)])
    for shape in ((32, 96), (96, 128)):
        with pytest.raises(BadInput, match=f"{shape[0]}x{shape[1]}, the engine was built for 64x96 to 96x96"):
            engine.run(np.zeros((1, 3, *shape), np.float32), np.ones((1, 2), np.float32), np.ones((1, 4), np.float32))


def test_calls_from_several_threads(target: str) -> None:
    engine = Engine(artefact(target=target))
    peaks = list(range(60, 256, 5))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda peak: engine(photo(64, 64, peak))[0], peaks))
    assert np.allclose([one.scores[0] for one in found], np.array(peaks) / 255, rtol=1e-5)


def test_threads_do_not_wait_for_each_other(target: str) -> None:
    """One call stops inside a watch while another runs to its end."""
    engine, inside, go = Engine(artefact(target=target)), threading.Event(), threading.Event()
    batch = prepare([photo(64, 64)], engine.header.preprocess)

    def stop(name: str, _: Array) -> None:
        if name == "v3":
            inside.set()
            assert go.wait(60)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.run, batch.pixels, batch.size, batch.geometry, watch=stop)
        assert inside.wait(60)
        found = engine(photo(64, 64, 0))
        go.set()
        assert slow.result(60)["count"].tolist() == [2]
    assert len(found[0]) == 0


def test_watch_sees_every_value_and_may_fail(target: str) -> None:
    engine, seen = Engine(artefact(target=target)), []
    batch = prepare([photo(64, 64)], engine.header.preprocess)
    engine.run(batch.pixels, batch.size, batch.geometry, watch=lambda name, value: seen.append((name, value.shape)))
    assert [name for name, _ in seen] == [name for step in plan().steps for name in step.outputs]
    assert dict(seen)["v3"] == (1, 3, 4)

    def fail(name: str, value: Array) -> None:
        raise ValueError("enough")

    with pytest.raises(InternalError, match="enough"):
        engine.run(batch.pixels, batch.size, batch.geometry, watch=fail)


def test_tensors_of_other_libraries_in_and_out() -> None:
    torch = pytest.importorskip("torch")
    engine = Engine(artefact())
    image = torch.zeros(64, 48, 3, dtype=torch.uint8)
    image[:32] = 255
    assert from_dlpack(image).ctypes.data == image.data_ptr()
    assert pictures([image.permute(1, 0, 2)])[0][0].ctypes.data == image.data_ptr()
    found, expected = engine([image])[0], engine(image.numpy().copy())[0]
    assert np.array_equal(found.boxes, expected.boxes)
    back = torch.from_dlpack(found.boxes)
    assert back.data_ptr() == found.boxes.ctypes.data
    batch = prepare([image], engine.header.preprocess)
    tensors = [torch.from_numpy(array) for array in (batch.pixels, batch.size, batch.geometry)]
    for name, array in engine.run(*tensors).items():
        assert np.array_equal(array, engine.run(batch.pixels, batch.size, batch.geometry)[name])
    with pytest.raises(BadInput, match="pixels has dtype float16"):
        engine.run(tensors[0].half(), *tensors[1:])
    with pytest.raises(BadInput, match="a Tensor cannot be read as an array"):
        engine.run(tensors[0].requires_grad_(), *tensors[1:])
    with pytest.raises(BadImage, match=r"image 1: a Tensor cannot be read as an array"):
        engine([image, torch.zeros(4, 4, 3, device="meta", dtype=torch.uint8)])


def test_images_are_read_where_they_lie(target: str) -> None:
    engine, rng = Engine(artefact(target=target)), np.random.default_rng(0)
    big = rng.integers(0, 256, (130, 120, 4), np.uint8)
    for view in (big[::2, ::3], big[::-1, ::-1, :3], big[..., 0], big.transpose(1, 0, 2)[..., 2::-1]):
        one, other = engine(view, score=0.0)[0], engine(view.copy(order="C"), score=0.0)[0]
        assert one.scores.tobytes() == other.scores.tobytes()


def test_info_is_json_ready() -> None:
    facts = json.loads(json.dumps(Engine(artefact()).info()))
    assert facts["detector"] == "tiny"
    assert facts["steps"][1] == {"native": "nms", "line": "zoo/tiny.py:3"}
    assert facts["input"] == {"batch": "dynamic", "size": "dynamic"}
    assert facts["blobs"]["graph"] == 4


def test_failing_step_names_its_line() -> None:
    engine = Engine(artefact(plan=replace(plan(), steps=(*plan().steps[:2], _broken()))))
    with pytest.raises(InternalError, match=r"to_image failed on f32\[1 3 4\], f32\[1 2\]: .*\(zoo/tiny.py:9\)"):
        engine(photo(8, 8))


def _broken() -> NativeStep:
    return NativeStep("to_image", ("v3", "size"), ("v7",), line="zoo/tiny.py:9")


def test_unknown_native_op() -> None:
    steps = (*plan().steps[:2], NativeStep("to_imago", ("v3", "geometry"), ("v7",)))
    with pytest.raises(FutureArtefact, match="to_imago") as caught:
        Engine(artefact(plan=replace(plan(), steps=steps)))
    assert caught.value.help == "upgrade graphdet"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (plan().steps[1:], "uses value 'v0'"),
        ((*plan().steps, plan().steps[2]), "a second time"),
        (plan().steps[:2], "output boxes is value 'v7'"),
    ],
)
def test_plans_that_do_not_fit_together(steps: tuple[Any, ...], words: str) -> None:
    with pytest.raises(CorruptArtefact, match=words):
        Engine(artefact(plan=replace(plan(), steps=steps)))


def test_outputs_of_wrong_shapes() -> None:
    outputs = {**plan().outputs, "boxes": "v4"}
    with pytest.raises(InternalError, match=r"output boxes is f32\[1 3\]"):
        Engine(artefact(plan=replace(plan(), outputs=outputs)))(photo(8, 8))


def test_constant_with_the_name_of_an_input() -> None:
    blobs = {**artefact().blobs, "constants": pack_arrays({"iou_threshold": np.zeros((), np.float32)})}
    with pytest.raises(CorruptArtefact, match="constant 'iou_threshold'"):
        Engine(Artefact(header(), blobs))


def test_import_is_light() -> None:
    heavy = "cv2 onnx onnxruntime openvino torch safetensors graphdet.compiler graphdet.runtime._C"
    code = f"import sys, graphdet.runtime; print(*[m for m in {heavy.split()} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == ""


def test_missing_segment(target: str) -> None:
    with pytest.raises(CorruptArtefact, match="segment:dense0"):
        Engine(Artefact(header(target=target), {}))
    with pytest.raises(CorruptArtefact, match=f"{target} refuses"):
        Engine(Artefact(header(target=target), {"segment:dense0": b"junk"}))


@pytest.mark.parametrize("nested", [False, True])
def test_segments_must_not_read_other_files(target: str, nested: bool, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    np.arange(4, dtype=np.float32).tofile(secret)
    with pytest.raises(CorruptArtefact, match="keeps tensor data in another file"):
        open_segment(target, external(str(secret), nested=nested))


@given(st.binary(max_size=60))
def test_any_segment_bytes(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # anything else fails the test
        kernels_module.kernels().refuse_external_data(data)


def test_missing_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ADAPTERS, "openvino", Adapter("absent_backend.module", "absent_backend", "pip install absent"))
    with pytest.raises(BackendMissing, match="absent_backend") as caught:
        Engine(artefact(target="openvino"))
    assert caught.value.help == "pip install absent"
    with pytest.raises(UnknownName, match="'openvin'"):
        open_segment("openvin", b"")
    with pytest.raises(BackendMissing, match="run from C\\+\\+"):
        open_segment("tensorrt", b"")


def test_missing_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(kernels_module, "import_module", absent)
    with pytest.raises(BackendMissing, match="kernel extension"):
        Engine(artefact())


def test_openvino_precision_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino as ov

    monkeypatch.setattr(ov.CompiledModel, "get_property", lambda *_: ov.Type.bf16)
    with pytest.raises(PrecisionMismatch, match="f32 was requested"):
        open_segment("openvino", segment())


@pytest.mark.parametrize("options", [{"threads": 0}, {"chunk": 0}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Engine(artefact(), **options)


def test_short_side_rule_runs() -> None:
    spec = Preprocess(std=(255.0,) * 3, size=(40, 60), fit="short_side")
    found = Engine(artefact(preprocess=spec))([photo(100, 50), photo(50, 100)])
    assert np.allclose(found[0].boxes[0], [0, 0, 25, 50])
    assert np.allclose(found[1].boxes[0], [0, 0, 50, 25])
