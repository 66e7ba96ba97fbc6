"""Verbs from weights to boxes: import, compile, run, test, demo."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from graphdet import zoo
from graphdet.cli import _build
from graphdet.data import write_coco
from graphdet.importers import read_weights, write_safetensors
from graphdet.ir import trace
from graphdet.ir.initial import initial_values
from graphdet.runtime import load, write_artefact
from graphdet.runtime.artefact import read_artefact
from graphdet.runtime.header import Bounds, Input
from tests.cli.conftest import Run, document
from tests.runtime import tiny


def test_import_renames_nothing_and_keeps_its_origin(run: Run, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    report = document(run("import", weights, "--as", "yolox_scenes", "-o", out, "--json"))
    assert (report["classes"], report["convolutions"]) == (5, 113)
    made = read_weights(out)
    assert made.meta["imported_sha256"] == report["sha256"] == read_weights(weights).meta["sha256"]
    assert made.meta["detector"] == "yolox_scenes"
    assert made.classes == zoo.get("yolox_scenes").row.classes
    assert "every name and shape matches" in run("import", weights, "--as", "yolox_scenes", "-o", out).stdout


def test_another_number_of_classes_reaches_the_engine(run: Run, tmp_path: Path) -> None:
    three = zoo.get("yolox_scenes").with_arguments(num_classes=3)
    source, out, engine = tmp_path / "three.safetensors", tmp_path / "w.safetensors", tmp_path / "x.gdet"
    write_safetensors(source, initial_values(trace(three)), {"classes": '["a", "b", "c"]'})
    wrong = run("import", source, "--as", "yolox_scenes", "-o", out)
    assert wrong.exit_code == 2
    assert "help: the file names 3 classes: try --classes 3" in wrong.stderr
    assert not out.exists()
    assert run("import", source, "--as", "yolox_scenes", "--classes", 3, "-o", out).exit_code == 0
    words = ("--weights", out, "--target", "onnxruntime", "--size", 64, "--batch", "dynamic", "--no-certify")
    assert run("compile", "yolox_scenes", *words, "-o", engine).exit_code == 0
    assert load(engine).classes == ("a", "b", "c")


def test_weights_of_another_detector_are_refused(run: Run, weights: Path, tmp_path: Path) -> None:
    done = run("compile", "yolox_nano", "--weights", weights, "-o", tmp_path / "x.gdet")
    assert done.exit_code == 2
    assert "these weights are of 'yolox_scenes'" in done.stderr


def test_compile_tells_what_it_made(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    done = run(
        "compile",
        "yolox_scenes",
        "--weights",
        weights,
        "--target",
        "onnxruntime",
        "--size",
        "64x96",
        "--images",
        photos,
        "-o",
        tmp_path / "x.gdet",
    )
    assert done.exit_code == 0
    assert "64x96, batch 1" in done.stdout
    assert "certificate" in done.stdout
    assert "1x3x64x96, 1x3x64x96" in done.stdout  # the two photos
    assert "certify" in done.stderr


def test_compile_takes_views(run: Run, weights: Path, tmp_path: Path) -> None:
    words = ("compile", "yolox_scenes", "--weights", weights, "--target", "onnxruntime", "--size", "64")
    done = run(*words, "--tta", "flip", "-o", tmp_path / "x.gdet", "--json")
    assert done.exit_code == 0
    assert read_artefact(tmp_path / "x.gdet").header.provenance["views"] == ["1", "1 flip"]
    refused = run(*words, "--tta", "flop", "-o", tmp_path / "y.gdet")
    assert refused.exit_code == 2
    assert "'flop' is no view" in refused.stderr


def test_bounds_of_a_size_on_the_command_line(run: Run, weights: Path, tmp_path: Path) -> None:
    words = ("compile", "yolox_scenes", "--weights", weights, "--target", "onnxruntime", "--no-certify")
    out = tmp_path / "x.gdet"
    done = run(*words, "--size", "64..96x64..128", "-o", out)
    assert done.exit_code == 0, done.output
    assert "64..96x64..128, batch 1" in done.stdout
    assert load(out).header.input.bounds == Bounds((64, 64), (96, 128))
    done = run("bench", out, "--rounds", 1, "--json")  # a drawn scene, larger than the most
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["milliseconds"]) >= {"prepare", "total"}
    for bad in ("64..96..128", "64..x64", "0..64", "axb", "64x64x64"):
        refused = run(*words, "--size", bad, "-o", out)
        assert refused.exit_code == 2
        assert "nor bounds of them" in refused.stderr
    assert "multiples of 32" in run(*words, "--size", "60..96", "-o", out).stderr


def test_run_writes_pictures_and_records(run: Run, tiny_engine: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    done = run("run", tiny_engine, photos, "--out", out, "--score", 0.2)
    assert done.exit_code == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.jpg", "detections.json"]
    records = json.loads((out / "detections.json").read_text())
    assert [r["picture"] for r in records] == ["a.png", "b.jpg"]
    assert records[0]["size"] == [40, 60]
    assert records[0]["objects"]
    assert records[0]["objects"][0]["class"] in done.stdout
    picture = cv2.imread(str(out / "a.png"))
    assert picture is not None
    assert (picture != 250).any()


@pytest.mark.parametrize(("frame", "told"), [("roi", "a grid in each box"), ("net", "a grid over the input")])
def test_masks_are_shown_written_and_drawn(run: Run, photos: Path, tmp_path: Path, frame: str, told: str) -> None:
    file, plain, out = tmp_path / "masks.gdet", tmp_path / "plain.gdet", tmp_path / "found"
    write_artefact(file, tiny.with_masks(frame))
    write_artefact(plain, tiny.artefact(input=Input(1, None)))
    assert told in run("show", file).stdout
    assert "a grid" not in run("show", plain).stdout
    assert document(run("show", file, "--json"))["masks"] == frame

    assert run("run", file, photos, "--out", out, "--score", 0.2).exit_code == 0
    records = json.loads((out / "detections.json").read_text())
    (found,) = load(file)([photos / "a.png"], score=0.2)
    assert found.masks is not None
    bitmaps = found.masks.bitmaps()
    assert [rle.decode(one["mask"]).tolist() for one in records[0]["objects"]] == bitmaps.tolist()
    assert len(bitmaps) == 2
    assert 0.05 < bitmaps[0].mean() < (0.25 if frame == "roi" else 0.8)
    assert bitmaps[1].any()
    run("run", plain, photos, "--out", tmp_path / "unmasked", "--score", 0.2)
    bare = json.loads((tmp_path / "unmasked" / "detections.json").read_text())
    assert not any("mask" in one for record in bare for one in record["objects"])
    drawn, framed = (np.asarray(cv2.imread(str(folder / "a.png"))) for folder in (out, tmp_path / "unmasked"))
    tinted = (drawn != framed).any(axis=2)
    inside, outside = bitmaps.any(axis=0) > 0, ~bitmaps.any(axis=0)
    assert tinted[inside].mean() > 0.5  # frames and labels hide some
    assert tinted[outside].mean() < 0.1  # contours


def test_proposals_of_a_file(run: Run, photos: Path, tmp_path: Path) -> None:
    """Of an earlier run for `run`, by image; of COCO results for `test`, by number."""
    file, first, out = tmp_path / "given.gdet", tmp_path / "first.json", tmp_path / "found"
    built = tiny.given()
    write_artefact(file, replace(built, header=replace(built.header, classes=("object",))))
    assert "proposals.boxes f32[3, 4], proposals.count i64[]" in run("show", file).stdout
    boxes = [[1, 2, 30, 31], [4, 5, 20, 30], [0, 0, 9, 9], [0, 0, 5, 5]]
    objects = [{"box": box, "score": 0.9 - 0.1 * i} for i, box in enumerate(boxes)]
    first.write_text(json.dumps([{"image": str(photos / "a.png"), "objects": objects}]))
    assert run("run", file, photos, "--out", out, "--proposals", first, "--score", 0.1).exit_code == 0
    records = json.loads((out / "detections.json").read_text())
    assert [[one["box"] for one in r["objects"]] for r in records] == [boxes[:3], []], "the best; none for an image"
    missing = run("run", file, photos, "--out", out)
    assert missing.exit_code == 2
    assert "image 0 comes without proposals" in missing.stderr

    notes = write_coco(tmp_path / "set", 3, seed=1, size=(64, 64))
    data, saved = f"coco:{notes.parent / 'images'}:{notes}", tmp_path / "saved.json"
    rows = [{"image_id": i, "bbox": [1, 2, 10, 20], "score": 0.5} for i in (1, 3)]
    first.write_text(json.dumps(rows))
    words = ("--data", data, "--proposals", first, "--batch", 2, "--save", saved)
    done = run("test", file, *words)
    assert done.exit_code == 0, done.output
    assert [(row["image_id"], row["bbox"]) for row in json.loads(saved.read_text())] == [
        (i, [1, 2, 10, 20]) for i in (1, 3)
    ]


def test_run_goes_on_after_a_bad_image(run: Run, tiny_engine: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    done = run("run", tiny_engine, photos / "notes.txt", photos / "gone.jpg", photos / "a.png", "--out", out, "--json")
    assert done.exit_code == 1
    d = document(done)
    assert (d["failed"], d["complete"]) == (2, True)
    assert [r.get("error", {}).get("code") for r in d["detections"]] == ["GD410", "GD520", None]
    assert done.stderr.count("warning") == 2


def test_run_keeps_what_is_done_at_ctrl_c(
    run: Run, tiny_engine: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphdet.runtime import Engine

    calls: list[object] = []
    whole = Engine.__call__

    def once(self: Engine, *words: object, **options: object) -> object:
        calls.append(words)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return whole(self, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "__call__", once)
    done = run("run", tiny_engine, photos, "--out", tmp_path / "found")
    assert done.exit_code == 130
    assert "1 of 2 images" in done.stderr
    assert len(json.loads((tmp_path / "found" / "detections.json").read_text())) == 1


def test_run_never_replaces_an_image(run: Run, tiny_engine: Path, photos: Path) -> None:
    before = (photos / "a.png").read_bytes()
    done = run("run", tiny_engine, photos, "--out", photos)
    assert done.exit_code == 2
    assert "would replace the image" in done.stderr
    assert (photos / "a.png").read_bytes() == before


def test_run_names_pictures_apart(run: Run, tiny_engine: Path, photos: Path, tmp_path: Path) -> None:
    done = run("run", tiny_engine, photos / "a.png", photos, "--out", tmp_path / "found", "--json")
    assert [r["picture"] for r in document(done)["detections"]] == ["a.png", "a_2.png", "b.jpg"]


def test_run_on_an_empty_folder(run: Run, tiny_engine: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("run", tiny_engine, tmp_path / "empty", "--out", tmp_path / "found")
    assert done.exit_code == 2
    assert "holds no images" in done.stderr


def test_test_prints_coco_figures(run: Run, engine: Path, tmp_path: Path) -> None:
    notes = write_coco(tmp_path / "set", 3, seed=1, size=(64, 64))
    data = f"coco:{notes.parent / 'images'}:{notes}"
    saved = tmp_path / "results.json"
    done = run("test", engine, "--data", data, "--batch", 2, "--save", saved, "--per-class")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[:6]] == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert "circle" in done.stdout
    assert isinstance(json.loads(saved.read_text()), list)
    d = document(run("test", engine, "--data", data, "--limit", 2, "--json"))
    assert (d["images"], d["complete"]) == (2, True)
    assert -1 <= d["AP"] <= 1
    again = document(run("test", saved, "--data", data, "--json"))
    whole = document(run("test", engine, "--data", data, "--metric", "proposal", "--json"))
    assert again["AP"] == whole["AP"]
    assert list(whole["proposal"]) == ["AR100", "AR300", "AR1000", "ARs", "ARm", "ARl"]
    assert run("test", saved, "--data", "scenes:1").exit_code == 2


def test_test_finds_a_missing_folder_before_it_starts(run: Run, engine: Path, tmp_path: Path) -> None:
    done = run("test", engine, "--data", "scenes:1", "--save", tmp_path / "no" / "results.json")
    assert done.exit_code == 2
    assert done.stderr.startswith("GD520 ")


def test_demo(run: Run, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_build, "shipped_weights", lambda name: weights)
    out = tmp_path / "demo"
    done = run("demo", "--out", out, "--target", "onnxruntime", "--json")
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in out.iterdir()) == ["detections.json", "detections.png", "input.png", "x.gdet"]
    picture = cv2.imread(str(out / "input.png"))
    assert picture is not None
    assert picture.shape == (320, 320, 3)
    assert document(done)["certificate"]["max_error"] < 1e-4
    assert load(out / "x.gdet")(np.zeros((32, 32, 3), np.uint8)) is not None


def test_demo_without_weights(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_build, "shipped_weights", lambda name: tmp_path / "none")
    done = run("demo", "--out", tmp_path / "demo")
    assert done.exit_code == 2
    assert "GD520 no weights for 'yolox_scenes' are shipped" in done.stderr
