"""Panoptic results scored from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphdet.data import PanopticFile, write_panoptic
from tests.cli.conftest import Run, document


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
