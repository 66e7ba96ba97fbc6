"""Stage times cover the plan, and the summary orders its figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from graphdet.cli.main import main
from graphdet.eval.speed import latency, summary
from graphdet.runtime import Engine, write_artefact
from tests.runtime.tiny import artefact

pytest.importorskip("graphdet.runtime._C", reason="the kernel extension is not built")


def test_every_step_of_the_plan_is_timed() -> None:
    times = latency(Engine(artefact(), threads=1), [np.zeros((48, 64, 3), np.uint8)], rounds=3)
    assert {"prepare", "total"} < set(times)
    assert len(times) == 2 + len(artefact().header.plan.steps)
    assert all(len(v) == 3 and min(v) > 0 for v in times.values())


def test_summary_orders_its_figures() -> None:
    row = summary({"x": [3.0, 1.0, 2.0]})["x"]
    assert (row["least"], row["median"]) == (1.0, 2.0)
    assert row["least"] <= row["median"] <= row["p90"] <= row["p99"] <= 3.0


def test_the_verb_prints_json(tmp_path: Path) -> None:
    write_artefact(tmp_path / "x.gdet", artefact())
    done = CliRunner().invoke(main, ["bench", str(tmp_path / "x.gdet"), "--rounds", "2", "--json"])
    assert done.exit_code == 0
    assert "total" in json.loads(done.output)["milliseconds"]


def test_the_verb_wants_an_engine() -> None:
    done = CliRunner().invoke(main, ["bench"])
    assert done.exit_code == 2
    assert "--worst-case" in done.output
