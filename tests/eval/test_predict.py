"""Offline inference: the same rows by any number of workers, and a run that goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from graphdet.cli.main import main
from graphdet.data import CocoDetection, write_coco
from graphdet.errors import BadInput
from graphdet.eval import Job, evaluate, evaluate_results, predict
from graphdet.runtime import load, write_artefact
from tests.runtime import tiny


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Seven bright images in a folder, and an engine of three candidates."""
    (tmp_path / "photos").mkdir()
    for i in range(7):
        cv2.imwrite(str(tmp_path / f"photos/{i}.png"), np.full((20, 30 + i, 3), 200 + 5 * i, np.uint8))
    write_artefact(tmp_path / "tiny.gdet", tiny.artefact())
    return Job(str(tmp_path / "tiny.gdet"), f"folder:{tmp_path / 'photos'}", score=0.0, batch=2)


def rows(file: Path) -> list[dict[str, Any]]:
    return list(json.loads(file.read_text()))


def test_rows_are_those_of_the_engine(job: Job, tmp_path: Path) -> None:
    seen: list[int] = []
    count = predict(job, tmp_path / "found.json", share=3, done=seen.append).rows
    written = rows(tmp_path / "found.json")
    assert seen == [0, 3, 6, 7]
    assert count == len(written) > 7
    assert not (tmp_path / "found.json.parts").exists()
    engine = load(job.engine)
    for i in range(7):
        (found,) = engine(tmp_path / f"photos/{i}.png", score=0.0)
        mine = [row for row in written if row["image_id"] == i + 1]
        assert [row["score"] for row in mine] == pytest.approx(found.scores.tolist())
        assert [row["category_id"] for row in mine] == [label + 1 for label in found.labels.tolist()]


def test_a_stopped_run_goes_on(job: Job, tmp_path: Path) -> None:
    predict(job, tmp_path / "whole.json", share=2)

    def stop(images: int) -> None:
        if images == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(job, tmp_path / "found.json", share=2, done=stop)
    assert not (tmp_path / "found.json").exists()
    with pytest.raises(BadInput, match=r"score: 0\.0 -> 0\.5"):
        predict(Job(job.engine, job.data, 0.5, job.batch), tmp_path / "found.json", share=2)
    seen: list[int] = []
    predict(job, tmp_path / "found.json", share=2, done=seen.append)
    assert seen == [4, 6, 7]
    assert (tmp_path / "found.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_results_score_as_an_evaluation_does(tmp_path: Path) -> None:
    file = write_coco(tmp_path, 3, seed=1, size=(64, 64))
    write_artefact(tmp_path / "tiny.gdet", tiny.artefact())
    content = json.loads(file.read_text())
    for category, name in zip(content["categories"], load(tmp_path / "tiny.gdet").info()["classes"], strict=False):
        category["name"] = name
    file.write_text(json.dumps(content))
    predict(Job(str(tmp_path / "tiny.gdet"), f"coco:{tmp_path / 'images'}:{file}"), tmp_path / "found.json")
    direct = evaluate(load(tmp_path / "tiny.gdet"), CocoDetection(tmp_path / "images", file), progress=False)
    again = evaluate_results(file, tmp_path / "found.json")
    assert again.detections == direct.detections
    assert again.figures() == pytest.approx(direct.figures())


def test_an_empty_folder(tmp_path: Path, job: Job) -> None:
    (tmp_path / "none").mkdir()
    assert predict(Job(job.engine, f"folder:{tmp_path / 'none'}"), tmp_path / "found.json").rows == 0
    assert rows(tmp_path / "found.json") == []


def test_images_that_cannot_be_read_are_skipped(tmp_path: Path) -> None:
    """One whose content is no picture, one that is gone; their neighbours of the same call are kept."""
    file = write_coco(tmp_path, 5, seed=1, size=(64, 64))
    write_artefact(tmp_path / "tiny.gdet", tiny.artefact())
    content = json.loads(file.read_text())
    for category, name in zip(content["categories"], load(tmp_path / "tiny.gdet").info()["classes"], strict=False):
        category["name"] = name
    file.write_text(json.dumps(content))
    job = Job(str(tmp_path / "tiny.gdet"), f"coco:{tmp_path / 'images'}:{file}", score=0.0, batch=2)
    predict(job, tmp_path / "whole.json")
    broken, gone = (content["images"][i] for i in (1, 4))
    (tmp_path / "images" / broken["file_name"]).write_bytes(b"no picture")
    (tmp_path / "images" / gone["file_name"]).unlink()
    found = predict(job, tmp_path / "found.json", share=3)
    assert [one["position"] for one in found.skipped] == [1, 4]
    assert all(file["file_name"] in one["error"]["message"]
               for file, one in zip((broken, gone), found.skipped, strict=True))  # fmt: skip
    kept = [row for row in rows(tmp_path / "whole.json") if row["image_id"] not in (broken["id"], gone["id"])]
    assert rows(tmp_path / "found.json") == kept
    assert len(kept) == found.rows > 0

    words = ["predict", job.engine, "--data", job.data, "-o", str(tmp_path / "found.json"), "--score", "0"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1
    assert done.stderr.count("warning skipped: ") == 2
    assert "detections in 3 images" in done.stderr
    assert "2 skipped" in done.stderr
    strict = CliRunner().invoke(main, [*words, "--strict"])
    assert strict.exit_code == 2
    assert broken["file_name"] in strict.stderr

    (tmp_path / "images" / "more.png").write_bytes(b"")  # a folder decodes its images for their size
    assert [
        one["position"]
        for one in predict(replace(job, data=f"folder:{tmp_path / 'images'}"), tmp_path / "f.json").skipped
    ] == [1, 4]


def test_the_verb(job: Job, tmp_path: Path) -> None:
    words = ["predict", job.engine, "--data", job.data, "-o", str(tmp_path / "found.json"), "--json"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["images"] == 7
    unknown = CliRunner().invoke(main, [*words[:1], str(tmp_path / "no.gdet"), *words[2:5], str(tmp_path / "x.json")])
    assert unknown.exit_code == 2, "that is no image to be skipped"
    missing = CliRunner().invoke(main, [*words[:5], str(tmp_path / "no/found.json")])
    assert missing.exit_code == 2
    assert "does not exist" in missing.stderr


@pytest.mark.slow
def test_processes_write_what_one_does(job: Job, tmp_path: Path) -> None:
    predict(job, tmp_path / "one.json", share=2)
    predict(job, tmp_path / "two.json", share=2, workers=2)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # Ray's own, of its own settings
def test_ray_writes_what_one_process_does(job: Job, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    predict(job, tmp_path / "one.json", share=2)
    try:
        predict(job, tmp_path / "two.json", share=2, ray=True)
    finally:
        ray.shutdown()
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
