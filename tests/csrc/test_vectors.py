"""The same damaged files, the same verdicts: by Python's reader and the extension here, in C++ by test_artefact.cpp."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from graphdet.errors import GdError
from graphdet.runtime import read_artefact
from tests.csrc.vectors import FOLDER, vectors

WORDS: dict[str, str] = json.loads((FOLDER / "words.json").read_text()) if (FOLDER / "words.json").exists() else {}


def test_files_written_today(tmp_path: Path) -> None:
    """A later version writes other bytes; those of earlier ones stay, as readers must go on judging them."""
    made = vectors(tmp_path)
    if os.environ.get("GRAPHDET_GOLDEN") == "write":
        FOLDER.mkdir(exist_ok=True)
        for name, (content, _) in made.items():
            (FOLDER / f"{name}.gdet").write_bytes(content)
        words = json.dumps({name: words for name, (_, words) in made.items()}, indent=1)
        (FOLDER / "words.json").write_text(words + "\n")
        return
    assert {name: words for name, (_, words) in made.items()} == WORDS
    for name, (content, words) in made.items():
        (tmp_path / f"{name}.gdet").write_bytes(content)
        agree(tmp_path / f"{name}.gdet", words)


@pytest.mark.parametrize("name", WORDS)
def test_files_written_before(name: str) -> None:
    agree(FOLDER / f"{name}.gdet", WORDS[name])


def agree(path: Path, words: str) -> None:
    """Both readers give the code that the name begins with, and these words."""
    native: Any = importlib.import_module("graphdet.runtime._C")
    expected = "" if path.stem.startswith("good") else path.stem.split("-")[0]
    found = ("", "")
    try:
        read_artefact(path).verify()
    except GdError as error:
        found = (error.code, error.message)
    assert found[0] == expected
    assert words in found[1]
    code, _, text = native._check_artefact(str(path)).partition(": ")
    assert code == expected
    assert words in text
