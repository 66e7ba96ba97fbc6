"""Panoptic results scored from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphdet import compiler
from graphdet.data import PanopticFile, write_panoptic
from graphdet.data.dataset import read_image
from graphdet.draw import draw_panoptic
from graphdet.records import Panoptic
from graphdet.runtime import write_artefact
from tests.cli.conftest import Run, document
from tests.runtime.flag import FLAG, picture


@pytest.mark.data
def test_results_are_scored(run: Run, shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared("data/panoptic-sample/sample_data")
    truth = PanopticFile(folder / "panoptic_examples.json")
    found = tmp_path / "found.json"
    write_panoptic(found, [(i["id"], truth.panoptic(i["id"])) for i in truth.images], truth.categories)
    words = ("--data", f"panoptic:{folder / 'input_images'}:{truth.file}", "--metric", "panoptic")
    report = document(run("test", found, *words, "--json"))
    assert report["images"] == 2
    assert report["all"] == report["things"] == {"PQ": 1.0, "SQ": 1.0, "RQ": 1.0}
    content = json.loads(found.read_text())
    for record in content["annotations"]:
        for segment in record["segments_info"]:
            segment["category_id"] = 1
    found.write_text(json.dumps(content))
    report = document(run("test", found, *words, "--json"))
    assert 0.0 < report["per_class"]["person"]["PQ"] < 1.0
    assert report["stuff"]["PQ"] == 0.0
    done = run("test", found, *words, "--per-class").stdout
    assert f"{100 * report['per_class']['person']['PQ']:.1f}" in done
    wrong = run("test", found, *words, "--metric", "bbox")
    assert (wrong.exit_code, "--metric panoptic, alone" in wrong.stderr) == (2, True)
    wrong = run("test", "x.gdet", *words)
    assert (wrong.exit_code, "--metric panoptic, alone" in wrong.stderr) == (2, True)


def test_an_engine_writes_segments_that_can_be_scored(run: Run, tmp_path: Path) -> None:
    """The annotations know the classes by other ids, in another order."""
    engine, photos, out = tmp_path / "flag.gdet", tmp_path / "photos", tmp_path / "found"
    write_artefact(engine, compiler.compile(FLAG, {}, "onnxruntime", size=(32, 48), certified=False))
    photos.mkdir()
    truth = []
    for number, size in ((7, (32, 48)), (12, (32, 30))):
        drawn = picture(*size)
        cv2.imwrite(str(photos / f"{number:04}.png"), drawn)
        ids = np.where((drawn > 0).any(2), drawn.argmax(2) + 1, 0).astype(np.int32)
        truth.append((number, Panoptic(ids, np.arange(1, 4), np.array([2, 2, 0]), np.zeros(3, np.bool_))))
    names = [{"id": 31, "name": "sky", "isthing": 0}, {"id": 5, "name": "dog", "isthing": 1}]
    names.append({"id": 9, "name": "cat", "isthing": 1})
    write_panoptic(tmp_path / "truth.json", truth, names)
    content = json.loads((tmp_path / "truth.json").read_text())
    sizes = {number: one.map.shape for number, one in truth}
    content["images"] = [{"id": i, "height": h, "width": w, "file_name": f"{i:04}.png"} for i, (h, w) in sizes.items()]
    (tmp_path / "truth.json").write_text(json.dumps(content))

    report = document(run("run", engine, photos, "--out", out, "--panoptic-out", out, "--json"))
    assert [r["id"] for r in report["detections"]] == [7, 12]
    assert [s["class"] for s in report["detections"][0]["segments"]] == ["cat", "cat", "sky"]
    assert np.any(cv2.imread(str(out / "0007.png")) != cv2.imread(str(photos / "0007.png")))
    shown = document(run("show", out / "panoptic.json", "--images", photos, "--out", tmp_path / "drawn", "--json"))
    areas = [[(s["class"], s["area"]) for s in i["segments"]] for i in report["detections"]]
    assert [[(s["class"], s["area"]) for s in i["segments"]] for i in shown["images"]] == areas
    for number, (_, width) in sizes.items():
        ours, theirs = read_image(tmp_path / "drawn" / f"{number}.png"), read_image(out / f"{number:04}.png")
        cats = np.s_[:12, : 2 * width // 3]  # the chip of the sky lies below
        np.testing.assert_array_equal(ours[cats], theirs[cats])
    written = json.loads((out / "panoptic.json").read_text())
    assert [(c["name"], c["isthing"]) for c in written["categories"]] == [("cat", 1), ("sky", 0)]
    words = ("--data", f"panoptic:{photos}:{tmp_path / 'truth.json'}", "--metric", "panoptic")
    assert document(run("test", out / "panoptic.json", *words, "--json"))["all"]["PQ"] == 1.0
    written["categories"][0]["name"] = "cow"
    (out / "panoptic.json").write_text(json.dumps(written))
    assert "class 'cow' is none of the 3 annotated ones" in run("test", out / "panoptic.json", *words).stderr


@pytest.fixture
def annotated(tmp_path: Path) -> tuple[Path, Path]:
    """A drawn scene of two discs on a field, its annotations, and the folder of its picture."""
    y, x = np.mgrid[0:120, 0:160]
    ids = np.where(y > 60, 3, 0).astype(np.int32)
    for number, (cy, cx) in enumerate(((50, 45), (70, 115)), 1):
        ids[(y - cy) ** 2 + (x - cx) ** 2 < 30**2] = number
    photos, file = tmp_path / "photos", tmp_path / "truth.json"
    photos.mkdir()
    cv2.imwrite(str(photos / "scene.png"), np.array([[60] * 3, [200] * 3, [90] * 3, [40, 120, 40]], np.uint8)[ids])
    categories = [{"id": 4, "name": "disc", "isthing": 1}, {"id": 9, "name": "field", "isthing": 0}]
    write_panoptic(file, [(1, Panoptic(ids, np.arange(1, 4), np.array([0, 0, 1]), np.zeros(3, np.bool_)))], categories)
    content = json.loads(file.read_text())
    content["images"] = [{"id": 1, "height": 120, "width": 160, "file_name": "scene.png"}]
    file.write_text(json.dumps(content))
    return file, photos


def test_segments_are_shown(run: Run, annotated: tuple[Path, Path], tmp_path: Path) -> None:
    file, photos = annotated
    done = run("show", file, "--out", tmp_path / "plain").stdout
    assert ("segments" in done, "disc" in done, "field" in done) == (True, True, True)
    plain, photo = read_image(tmp_path / "plain/1.png"), read_image(photos / "scene.png")
    assert (plain[:20, 130:] == 127).all(), "void"
    assert len({tuple(plain[at]) for at in ((5, 155), (60, 45), (80, 115), (110, 10))}) == 4, "a colour a segment"
    run("show", file, "--images", photos, "--out", tmp_path / "drawn")
    drawn = read_image(tmp_path / "drawn/1.png")
    np.testing.assert_array_equal(drawn[:20, 130:], photo[:20, 130:])
    truth = PanopticFile(file).panoptic(1)
    np.testing.assert_array_equal(drawn, draw_panoptic(photo, truth))
    assert (drawn != draw_panoptic(photo, replace(truth, classes=("ring", "field")))).any(), "names are written"
    assert run("data", "browse", f"panoptic:{photos}:{file}", "-o", tmp_path / "page").exit_code == 0
    page = read_image(tmp_path / "page/000000.jpg").astype(int)
    assert np.abs(page - drawn).mean() < 4, "the same, as a JPEG"
    (photos / "scene.png").rename(photos / "other.png")
    lost = run("show", file, "--images", photos, "--out", tmp_path / "drawn")
    assert (lost.exit_code, "scene.png" in lost.stderr) == (2, True)


def test_a_detector_of_boxes_has_no_segments(run: Run, tiny_engine: Path, photos: Path, tmp_path: Path) -> None:
    done = run("run", tiny_engine, photos, "--out", tmp_path / "found", "--panoptic-out", tmp_path / "found")
    assert (done.exit_code, "finds no panoptic segments" in done.stderr) == (2, True)
