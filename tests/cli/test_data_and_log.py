"""`graphdet data` and `graphdet log`, by their results."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from graphdet.cli.data import command as data
from graphdet.cli.log import command as log
from graphdet.cli.main import main


def coco(folder: Path) -> str:
    """Three images: one right, one of another size, one missing; one box leaves its image."""
    for name, size in (("a", (40, 60)), ("b", (30, 30))):
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((*size, 3), np.uint8))
    images = [{"id": i, "file_name": f"{n}.png", "height": 40, "width": 60} for i, n in enumerate("abc", 1)]
    boxes = [(1, [2, 2, 40, 20]), (1, [50, 2, 20, 20]), (2, [0, 0, 5, 5])]
    notes = [{"id": i, "image_id": n, "category_id": 1, "bbox": b} for i, (n, b) in enumerate(boxes, 1)]
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": notes, "categories": [{"id": 1, "name": "cat"}]}))
    return f"coco:{folder}:{file}"


def test_check_names_every_problem(tmp_path: Path) -> None:
    done = CliRunner().invoke(data, ["check", coco(tmp_path), "--json"])
    found = json.loads(done.stdout)["problems"]
    assert done.exit_code == 1
    assert len(found) == 3
    assert any("50 2 70 22" in f and "a.png" in f for f in found)
    assert any("(30, 30) rows and columns" in f for f in found)
    assert any("c.png" in f and "does not exist" in f for f in found)
    assert CliRunner().invoke(data, ["check", "scenes:2:1:64x64"]).exit_code == 0


def test_stats_count(tmp_path: Path) -> None:
    found = json.loads(CliRunner().invoke(data, ["stats", coco(tmp_path), "--json"]).stdout)
    assert (found["images"], found["objects"], found["without_objects"]) == (3, 3, 1)
    (row,) = found["per_class"]
    assert (row["images"], row["objects"], row["small"]) == (2, 3, 3)
    assert "cat" in CliRunner().invoke(data, ["stats", coco(tmp_path)]).stdout


@pytest.mark.parametrize("options", [[], ["--recipe", "scenes"]])
def test_browse_writes_a_page(tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(data, ["browse", "scenes:5:1:64x64", "-o", str(tmp_path / "p"), "--count", "3", *options])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "p").glob("*.jpg"))) == 3
    assert (tmp_path / "p/index.html").read_text().count("<figure>") == 3


def run(folder: Path) -> Path:
    lines = [
        {"step": i + 1, "epoch": (i + 1) / 5, "loss": 10.0 - i, "seconds": 0.5 + (i >= 5), "memory": 700 + i}
        for i in range(10)
    ]
    evaluation = [{"step": s, "evaluation": {"AP": s / 100, "per_class": {}, "images": 3}} for s in (5, 10)]
    folder.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in [*lines, *evaluation])
    (folder / "log.jsonl").write_text(text + '{"step": 11, "lo')
    return folder


def test_plot_draws_runs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = [str(run(tmp_path / name)) for name in ("a", "b")]
    picture = tmp_path / "curves.png"
    done = CliRunner().invoke(log, ["plot", *runs, "--smooth", "3", "-o", str(picture)])
    assert done.exit_code == 0, done.output
    image = cv2.imread(str(picture))
    assert image is not None
    assert image.std() > 5
    wrong = CliRunner().invoke(main, ["log", "plot", runs[0], "--keys", "los", "-o", str(picture)])
    assert wrong.exit_code == 2
    assert "did you mean 'loss'" in wrong.stderr


def test_times_leave_out_the_first_steps(tmp_path: Path) -> None:
    (row,) = json.loads(CliRunner().invoke(log, ["time", str(run(tmp_path / "a")), "--json"]).stdout)
    assert (row["steps"], row["median"], row["fastest_epoch"], row["slowest_epoch"]) == (10, 1.5, 1.5, 1.5)
    assert row["memory"] == 709
