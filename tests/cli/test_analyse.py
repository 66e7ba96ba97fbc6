"""`graphdet analyse`: figures of a results file, pictures, and a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from graphdet.cli.analyse import command
from graphdet.cli.main import main
from graphdet.data import parse_data

SPEC = "scenes:4:3:96x96"


def results(folder: Path) -> Path:
    """The truth itself as detections, but for the first image, where every class is taken for the next one."""
    data = parse_data(SPEC)
    rows = []
    for i in range(len(data)):
        sample = data.sample(i)
        for box, label in zip(sample.truth.boxes.tolist(), sample.truth.labels.tolist(), strict=True):
            x1, y1, x2, y2 = box
            category = (label + (i == 0)) % len(data.classes) + 1
            rows.append(
                {"image_id": sample.id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 0.9}
            )
    file = folder / "found.json"
    file.write_text(json.dumps(rows))
    return file


def test_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "report"
    done = CliRunner().invoke(command, [str(results(tmp_path)), "--data", SPEC, "-o", str(out), "--top", "1", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report == json.loads((out / "report.json").read_text())
    data = parse_data(SPEC)
    first, objects = len(data.sample(0).truth), sum(len(data.sample(i).truth) for i in range(4))
    confusion = report["confusion"]
    assert sum(confusion[i][(i + 1) % 5] for i in range(5)) >= first
    assert sum(map(sum, confusion)) == objects + first, "a wrong class counts as missed, too"
    assert 0 < report["mAP"] < 1
    errors = report["errors"]
    assert 0 < errors["all"]["C50"] < errors["all"]["Oth"] < errors["all"]["FN"] == 1
    names = {f.name for f in out.iterdir()}
    assert {"index.html", "confusion.png", "precision_recall.png", "errors.png", "worst_000000.jpg"} <= names
    assert "worst_000000.jpg" in (out / "index.html").read_text()


def test_results_of_other_images(tmp_path: Path) -> None:
    arguments = ["analyse", str(results(tmp_path)), "--data", "scenes:1:3:96x96", "-o", str(tmp_path / "r")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "not in the annotations" in done.stderr
