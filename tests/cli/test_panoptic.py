"""Panoptic results scored from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphdet import compiler
from graphdet.data import PanopticFile, write_panoptic
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
    written = json.loads((out / "panoptic.json").read_text())
    assert [(c["name"], c["isthing"]) for c in written["categories"]] == [("cat", 1), ("sky", 0)]
    words = ("--data", f"panoptic:{photos}:{tmp_path / 'truth.json'}", "--metric", "panoptic")
    assert document(run("test", out / "panoptic.json", *words, "--json"))["all"]["PQ"] == 1.0
    written["categories"][0]["name"] = "cow"
    (out / "panoptic.json").write_text(json.dumps(written))
    assert "class 'cow' is none of the 3 annotated ones" in run("test", out / "panoptic.json", *words).stderr


def test_a_detector_of_boxes_has_no_segments(run: Run, tiny_engine: Path, photos: Path, tmp_path: Path) -> None:
    done = run("run", tiny_engine, photos, "--out", tmp_path / "found", "--panoptic-out", tmp_path / "found")
    assert (done.exit_code, "finds no panoptic segments" in done.stderr) == (2, True)
