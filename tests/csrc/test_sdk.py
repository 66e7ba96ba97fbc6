"""The C++ engine as its users meet it: installed, linked from another folder, and compared with the Python engine."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import graphdet
import graphdet.ops  # fills the table of ops
from graphdet.cli._build import read_variant
from graphdet.data.scenes import scene
from graphdet.ir import OPS
from graphdet.ir.initial import initial_values
from graphdet.records import Array, Detections
from graphdet.runtime import load, write_artefact
from graphdet.runtime.given import random_inputs
from graphdet.runtime.header import NativeStep
from graphdet.zoo.backbones.resnet import ResNet
from tests.csrc.plans import FAMILY, with_all_ops, with_suppression
from tests.runtime.tiny import artefact, with_masks

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NANO = "data/yolox-nano-0.1.1rc0-onnx/yolox_nano.onnx"
PHOTOS = "data/coco-val186-official/val2017"
SIZES = [(320, 320), (480, 640), (333, 500), (700, 200), (640, 640), (64, 64), (37, 41), (900, 1600)]


# Tools that were installed as Python packages lie beside the interpreter.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def run(*words: object) -> str:
    """Output of a program, which must succeed."""
    environment = {**os.environ, "PATH": PATH}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def cmake(source: Path, build: Path, *options: str) -> None:
    generator = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    run("cmake", "-S", source, "-B", build, *generator, *options)
    run("cmake", "--build", build, "--parallel", "2")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder of library and C++ tests."""
    pytest.importorskip("openvino", reason="the C++ engine takes OpenVINO from its wheel")
    if shutil.which("cmake", path=PATH) is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    build: Path = tmp_path_factory.mktemp("sdk")
    flags = ["-DGRAPHDET_SDK=ON", "-DGRAPHDET_TESTS=ON", "-DGRAPHDET_PYTHON=OFF", "-DGRAPHDET_OPENVINO=ON"]
    cmake(ROOT, build, *flags, f"-DPython_EXECUTABLE={sys.executable}")
    return build


@pytest.fixture(scope="module")
def prefix(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the library is installed."""
    where: Path = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", built, "--prefix", where)
    return where


@pytest.fixture(scope="module")
def programs(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, built from the installed files alone."""
    folder: Path = tmp_path_factory.mktemp("examples")
    shutil.copytree(prefix / "share/graphdet/examples", folder / "source")
    cmake(folder / "source", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    return folder / "build"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder: Path = tmp_path_factory.mktemp("scenes")
    return list(_written(folder, [scene(np.random.default_rng(i), size)[0] for i, size in enumerate(SIZES)]))


def _written(folder: Path, images: list[Array]) -> Iterator[Path]:
    for i, image in enumerate(images):
        path = folder / f"{i}.ppm"
        cv2.imwrite(str(path), image)
        yield path


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("engine") / "x.gdet"
    return _compiled(path)


def _compiled(path: Path, **options: Any) -> Path:
    variant, weights = read_variant("yolox_scenes", None)
    write_artefact(path, graphdet.compile(variant, weights.tensors, certified=False, **options))
    return path


def compare(
    programs: Path, engine: Path, files: list[Path], score: float | None = None, iou: float | None = None,
    *, lean: bool = False,
) -> int:  # fmt: skip
    """Detections of C++ and Python must be equal in every bit; returns how many there are."""
    given = (("--score", score), ("--iou", iou))
    words = [word for name, value in given if value is not None for word in (name, value)]
    words += ["--lean"] if lean else []
    rows = json.loads(run(programs / "detect", engine, *files, "--threads", 1, *words))
    found = load(engine, threads=1)([str(file) for file in files], score=score, iou=iou)
    assert [row["image"] for row in rows] == [str(file) for file in files]
    for row, one in zip(rows, found, strict=True):
        back = _read(row)
        assert back.size == one.size
        assert back.boxes.tobytes() == one.boxes.tobytes()
        assert back.scores.tobytes() == one.scores.tobytes()
        assert back.labels.tolist() == one.labels.tolist()
        assert [item["class"] for item in row["objects"]] == [one.name(int(label)) for label in one.labels]
        assert [item["mask"] for item in row["objects"] if "mask" in item] == one.segmentations()
    return sum(len(one) for one in found)


def _read(row: dict[str, Any]) -> Detections:
    objects = row["objects"]
    boxes = np.array([item["box"] for item in objects], np.float32).reshape(-1, 4)
    scores = np.array([item["score"] for item in objects], np.float32)
    return Detections(boxes, scores, np.array([item["label"] for item in objects], np.int64), (), tuple(row["size"]))


@pytest.mark.parametrize("program", ["graphdet_tests", "tensorrt_tests"])
def test_the_cpp_tests_pass(built: Path, program: str) -> None:
    assert ", 0 failed checks" in run(built / program)


def test_detections_equal_python(programs: Path, engine: Path, scenes: list[Path]) -> None:
    assert compare(programs, engine, scenes) > 40
    assert compare(programs, engine, scenes, score=0.3, iou=0.4) >= 8
    assert compare(programs, engine, scenes, lean=True) > 40


@pytest.mark.parametrize("target", ["onnxruntime", "onnx"])
def test_detections_on_onnxruntime_equal_python(
    built: Path, programs: Path, scenes: list[Path], target: str, tmp_path: Path
) -> None:
    if "ONNXRUNTIME_INCLUDE_DIR:PATH=ONNXRUNTIME_INCLUDE_DIR-NOTFOUND" in (built / "CMakeCache.txt").read_text():
        pytest.skip("needs ONNX Runtime's headers, which its wheel lacks: CMAKE_PREFIX_PATH or ONNXRUNTIME_INCLUDE_DIR")
    path = _compiled(tmp_path / "x.gdet", target=target, batch="dynamic", size="dynamic")
    assert compare(programs, path, scenes) > 40
    tiny = artefact(target=target)
    write_artefact(path, replace(tiny, blobs={**tiny.blobs, "segment:dense0": b"\x08\x01"}))
    done = subprocess.run([programs / "detect", path, scenes[0]], capture_output=True, text=True, check=False)
    assert "detect: GD403: onnxruntime refuses the segment" in done.stderr


@pytest.mark.parametrize("batch", [3, "dynamic"])
def test_batches_equal_python(programs: Path, scenes: list[Path], batch: int | str, tmp_path: Path) -> None:
    path = _compiled(tmp_path / "x.gdet", batch=batch, size="dynamic")
    assert compare(programs, path, [*scenes, *scenes[:3]]) > 40


@pytest.mark.parametrize(
    "rule",
    [
        {
            "fit": "short_side",
            "size": (48, 80),
            "order": "rgb",
            "mean": (123.675, 116.28, 103.53),
            "std": (58.0, 57.0, 57.4),
        },
        {"fit": "letterbox", "size": (40, 72), "pad": 114.0, "divisor": 8},
        {"fit": "stretch", "size": (40, 72)},
    ],
)
def test_preprocessing_rules_equal_python(
    programs: Path, scenes: list[Path], rule: dict[str, Any], tmp_path: Path
) -> None:
    tiny = artefact(target="openvino")
    spec = replace(tiny.header.preprocess, **rule)
    write_artefact(tmp_path / "x.gdet", replace(tiny, header=replace(tiny.header, preprocess=spec)))
    assert compare(programs, tmp_path / "x.gdet", scenes, score=0.0) >= len(scenes)


@pytest.mark.parametrize("name", FAMILY)
def test_suppression_equals_python(programs: Path, scenes: list[Path], name: str, tmp_path: Path) -> None:
    write_artefact(tmp_path / "x.gdet", with_suppression(FAMILY[name]))
    assert compare(programs, tmp_path / "x.gdet", scenes) >= len(scenes)


def test_all_native_ops_equal_python(programs: Path, scenes: list[Path], tmp_path: Path) -> None:
    """Every op that a plan can hold is known to the C++ engine."""
    plan = with_all_ops().header.plan
    used = {step.op for step in (*plan.steps, *FAMILY.values()) if isinstance(step, NativeStep)}
    assert {op.native_name for op in OPS.values() if op.native_name} <= used
    write_artefact(tmp_path / "x.gdet", with_all_ops())
    assert compare(programs, tmp_path / "x.gdet", scenes) >= len(scenes)


def test_photos_equal_python(programs: Path, shared: Callable[[str], Path], tmp_path: Path) -> None:
    from graphdet import zoo
    from graphdet.importers.detector import import_weights

    nano = zoo.get("yolox_nano")
    weights = import_weights(shared(NANO), nano)
    write_artefact(tmp_path / "nano.gdet", graphdet.compile(nano, weights.tensors, certified=False))
    files = sorted(shared(PHOTOS).iterdir())
    if not decodes(programs, "JPEG"):
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        files = list(_written(tmp_path, [np.asarray(cv2.imread(str(file), flags)) for file in files]))
    assert len(files) == 186
    assert compare(programs, tmp_path / "nano.gdet", files) > 10_000


def decodes(programs: Path, library: str) -> bool:
    """Whether the examples were built with a decoder."""
    return f"FIND_PACKAGE_MESSAGE_DETAILS_{library}:" in (programs / "CMakeCache.txt").read_text()


@pytest.mark.parametrize("kind", ["jpg", "png", "gray.jpg", "gray.png", "alpha.png"])
def test_decoders_equal_opencv(programs: Path, engine: Path, scenes: list[Path], kind: str, tmp_path: Path) -> None:
    if not decodes(programs, "JPEG" if kind.endswith("jpg") else "PNG"):
        pytest.skip("the library is not installed")
    files = []
    for scene_file in scenes:
        image = np.asarray(cv2.imread(str(scene_file)))
        if kind.startswith("gray"):
            image = image[..., 1]
        if kind.startswith("alpha"):
            image = np.dstack([image, np.full(image.shape[:2], 128, np.uint8)])
        files.append(tmp_path / f"{scene_file.stem}.{kind}")
        cv2.imwrite(str(files[-1]), image)
    assert compare(programs, engine, files) >= 8
    files[0].write_bytes(files[0].read_bytes()[:200])
    done = subprocess.run([programs / "detect", engine, files[0]], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "detect: cannot read" in done.stderr


def test_drawing(programs: Path, engine: Path, scenes: list[Path], tmp_path: Path) -> None:
    run(programs / "detect", engine, scenes[0], "--score", 0.3, "--draw", tmp_path)
    drawn, plain = (np.asarray(cv2.imread(str(path))) for path in (tmp_path / "0.ppm", scenes[0]))
    assert drawn.shape == plain.shape
    assert 0 < np.any(drawn != plain, axis=2).mean() < 0.5


def test_bench(programs: Path, engine: Path, scenes: list[Path]) -> None:
    row = json.loads(run(programs / "bench", engine, scenes[0], 10, 1))
    assert row["runs"] == 10
    assert 0 < row["min_ms"] <= row["p50_ms"] <= row["p99_ms"]


def test_the_c_interface(programs: Path, engine: Path, scenes: list[Path]) -> None:
    """The program submits all images before it waits for the first."""
    found = load(engine, threads=1)([str(file) for file in scenes])
    lines = [line.split() for line in run(programs / "detect_c", engine, *scenes).splitlines()]
    assert [line[0] for line in lines] == [one.name(int(label)) for one in found for label in one.labels]
    numbers = np.array([line[1:] for line in lines], np.float64).astype(np.float32)
    expected = [np.column_stack([one.scores, one.boxes]) for one in found]
    assert numbers.tobytes() == np.concatenate(expected).tobytes()


@pytest.mark.parametrize("frame", ["roi", "net"])
def test_masks_equal_python(programs: Path, scenes: list[Path], frame: str, tmp_path: Path) -> None:
    file = tmp_path / "x.gdet"
    write_artefact(file, with_masks(frame, target="openvino"))
    masks_equal(programs, file, scenes, tmp_path / "masks")


def test_masks_of_a_network_equal_python(programs: Path, scenes: list[Path], tmp_path: Path) -> None:
    """A narrow Mask R-CNN, whose mask head is a network of its own."""
    from tests.runtime.test_masks import small

    file = tmp_path / "x.gdet"
    write_artefact(file, graphdet.compile(*small(), size=(128, 160), certified=False))
    masks_equal(programs, file, scenes[:4], tmp_path / "masks")


def masks_equal(programs: Path, engine: Path, files: list[Path], folder: Path) -> None:
    """Masks by C++ (run lengths) and by C (bitmaps) are Python's, pixel by pixel."""
    assert compare(programs, engine, files) > len(files)
    folder.mkdir()
    run(programs / "detect_c", engine, "--masks", folder, *files)
    found = load(engine, threads=1)([str(file) for file in files])
    bitmaps = [one.masks.bitmaps() for one in found if one.masks is not None]
    assert len(bitmaps) == len(files)
    assert len(list(folder.iterdir())) == sum(map(len, bitmaps))
    for i, of_image in enumerate(bitmaps):
        assert of_image.any(axis=(1, 2)).any()
        for k, bitmap in enumerate(of_image):
            written = np.asarray(cv2.imread(str(folder / f"{i}_{k}.pgm"), cv2.IMREAD_UNCHANGED))
            assert np.array_equal(written, bitmap * 255)
    drawn = folder / "drawn"
    drawn.mkdir()
    run(programs / "detect", engine, files[0], "--draw", drawn)
    tinted = np.any(np.asarray(cv2.imread(str(drawn / "0.ppm"))) != np.asarray(cv2.imread(str(files[0]))), axis=2)
    assert (tinted & bitmaps[0].any(axis=0)).sum() > 0.9 * bitmaps[0].any(axis=0).sum()


def test_panoptic_segments_equal_python(programs: Path, tmp_path: Path) -> None:
    from tests.runtime.flag import FLAG, picture  # declared when the ops are

    file = tmp_path / "flag.gdet"
    write_artefact(file, graphdet.compile(FLAG, {}, size=(32, 48), certified=False))
    images = list(_written(tmp_path, [picture(*size) for size in ((32, 48), (64, 96), (50, 31))]))
    lines = [line.split() for line in run(programs / "detect_c", file, "--segments", tmp_path, *images).splitlines()]
    found = load(file, threads=1).panoptic([str(image) for image in images])
    wanted = []
    for i, one in enumerate(found):
        drawn = cv2.imread(str(tmp_path / f"{i}.pgm"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(drawn, one.map)
        kinds = [str(int(thing)) for thing in np.asarray(one.things)]
        rows = zip(one.as_dict()["segments"], kinds, strict=True)
        wanted += [[str(s["id"]), s["class"], kind, str(s["area"])] for s, kind in rows]
    assert lines == wanted
    assert len(wanted) == 9


def test_masks_of_a_detector_without_them(programs: Path, engine: Path, scenes: list[Path], tmp_path: Path) -> None:
    words = [str(programs / "detect_c"), str(engine), "--masks", str(tmp_path), *map(str, scenes)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "detect_c: GD411: there is no mask 0; the image has 0" in done.stderr


class Boxes(ctypes.Structure):
    """gd_boxes."""

    _fields_ = (("data", ctypes.c_void_p), ("count", ctypes.c_int64))


class Image(ctypes.Structure):
    """gd_image."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("height", ctypes.c_int64), ("width", ctypes.c_int64), ("row_bytes", ctypes.c_int64),
        ("channels", ctypes.c_int32), ("order", ctypes.c_int32), ("proposals", ctypes.POINTER(Boxes)),
    )  # fmt: skip


class Object(ctypes.Structure):
    """gd_detection."""

    _fields_ = (("box", ctypes.c_float * 4), ("score", ctypes.c_float), ("label", ctypes.c_int64))


def test_proposals_by_the_c_interface(prefix: Path, tmp_path: Path) -> None:
    """Fast R-CNN on images of three sizes, one of them without a place to look at: bit for bit as Python runs it."""
    variant = graphdet.get("fast_rcnn_r50").with_arguments(body=ResNet(18), width=16, num_classes=3)
    built = graphdet.compile(variant, initial_values(graphdet.trace(variant)), size=(128, 160), certified=False)
    write_artefact(tmp_path / "x.gdet", built)
    images = [scene(np.random.default_rng(i), size)[0] for i, size in enumerate(SIZES[:3])]
    drawn = random_inputs(built.header.input.given, [image.shape[:2] for image in images])
    counts = [40, 0, 7]
    boxes = [np.ascontiguousarray(rows[:n]) for rows, n in zip(drawn["proposals.boxes"], counts, strict=True)]
    expected = load(tmp_path / "x.gdet", threads=1)(images, proposals=boxes, score=0.01)
    assert [len(one) > 0 for one in expected] == [True, False, True]

    library = ctypes.CDLL(str(next((prefix / "lib").glob("libgraphdet.so"))))
    library.gd_last_error.restype, library.gd_result_objects.restype = ctypes.c_char_p, ctypes.POINTER(Object)
    views = [Boxes(rows.ctypes.data, len(rows)) for rows in boxes]
    passed = (Image * 3)(
        *(Image(p.ctypes.data, *p.shape[:2], 0, 3, 0, ctypes.pointer(v)) for p, v in zip(images, views, strict=True))
    )
    engine, result, count = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
    assert library.gd_engine_load(str(tmp_path / "x.gdet").encode(), 1, ctypes.byref(engine)) == 0
    options = (ctypes.c_size_t(3), ctypes.c_float(0.01), ctypes.c_float(-1))
    assert library.gd_engine_detect(engine, passed, *options, ctypes.byref(result)) == 0, library.gd_last_error()
    for i, one in enumerate(expected):
        objects = library.gd_result_objects(result, ctypes.c_size_t(i), ctypes.byref(count))
        assert [objects[k].label for k in range(count.value)] == one.labels.tolist()
        assert [objects[k].score for k in range(count.value)] == one.scores.tolist()
        assert [list(objects[k].box) for k in range(count.value)] == one.boxes.tolist()
    library.gd_result_free(result)
    passed[2].proposals = None
    assert library.gd_engine_detect(engine, passed, *options, ctypes.byref(result)) == 411
    assert library.gd_last_error().startswith(b"GD411: image 2 comes without proposals")
    library.gd_engine_free(engine)


def test_symbols(prefix: Path, programs: Path) -> None:
    """The library shows its interface and nothing else, and the C program needs nothing but the C functions."""
    if shutil.which("nm") is None:
        pytest.skip("needs nm")
    library = next((prefix / "lib").glob("libgraphdet.so.*.*"))
    shown = [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()]
    own = [name for name in shown if "graphdet" in name]
    assert own
    assert [
        name for name in own if not re.match(r"_ZNK?8graphdet(6Engine|10Detections|7version|8backends)", name)
    ] == []
    needed = [line.split()[-1] for line in run("nm", "-D", "--undefined-only", programs / "detect_c").splitlines()]
    assert [name for name in needed if "graphdet" in name] == []
    assert {name for name in needed if name.startswith("gd_")} <= {name for name in shown if name.startswith("gd_")}


@pytest.mark.parametrize("program", ["detect", "detect_c"])
def test_files_that_cannot_be_used(
    programs: Path, engine: Path, scenes: list[Path], program: str, tmp_path: Path
) -> None:
    whole = engine.read_bytes()
    write_artefact(tmp_path / "torch.gdet", artefact(target="torch"))
    contents = {
        "GD400": b"PK\x03\x04",
        "GD401": whole[:-1],
        "GD402": whole[:8] + b"\x09" + whole[9:],
        "GD403": whole[:-1] + bytes([whole[-1] ^ 1]),
        "GD330": (tmp_path / "torch.gdet").read_bytes(),
    }
    for code, content in contents.items():
        (tmp_path / "a.gdet").write_bytes(content)
        done = subprocess.run([programs / program, tmp_path / "a.gdet", scenes[0]], capture_output=True, text=True)
        assert done.returncode == 1
        assert f"{program}: {code}: " in done.stderr


def test_the_page_in_the_documentation(prefix: Path, engine: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "runtime-cpp.md").read_text(encoding="utf-8")
    blocks = {name: re.findall(rf"^```{name}\n(.*?)^```", page, re.M | re.S) for name in ("cmake", "cpp", "c")}
    for language, program in (("cpp", "mine.cpp"), ("c", "mine.c")):
        folder = tmp_path / language
        folder.mkdir()
        (folder / program).write_text(blocks[language][0])
        lists = blocks["cmake"][0].replace("mine.cpp", program).replace("LANGUAGES CXX", "LANGUAGES C CXX")
        (folder / "CMakeLists.txt").write_text(lists)
        cmake(folder, folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
        assert run(folder / "build" / "mine", engine).startswith("0 objects")
