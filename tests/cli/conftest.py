"""A runner for verbs, and small files for them to work on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from graphdet import zoo
from graphdet.cli.main import main
from graphdet.importers import write_safetensors
from graphdet.ir import trace
from graphdet.ir.initial import initial_values
from graphdet.runtime import write_artefact
from tests.runtime import tiny

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run() -> Run:
    """`run("zoo", "--json")` runs the command with these words."""
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Initial weights of the smallest detector."""
    file = tmp_path_factory.mktemp("weights") / "scenes.safetensors"
    values = initial_values(trace(zoo.get("yolox_scenes")))
    write_safetensors(file, values, {"detector": "yolox_scenes"})
    return file


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, weights: Path, run: Run) -> Path:
    """The smallest detector, compiled by the verb."""
    file = tmp_path_factory.mktemp("engine") / "scenes.gdet"
    done = run(
        "compile", "yolox_scenes", "--weights", weights, "--target", "onnxruntime", "--size", "64", "-o", file, "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["output"] == str(file)
    return file


@pytest.fixture
def tiny_engine(tmp_path: Path) -> Path:
    """An engine of three candidates whose scores follow the brightest pixel."""
    file = tmp_path / "tiny.gdet"
    write_artefact(file, tiny.artefact())
    return file


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with two bright pictures and a text file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        _, data = cv2.imencode(Path(name).suffix, np.full((40, 60, 3), 250, np.uint8))
        (folder / name).write_bytes(data.tobytes())
    (folder / "notes.txt").write_text("no image")
    return folder


def document(result: Result) -> Any:
    """The JSON document that a verb printed."""
    return json.loads(result.stdout)
