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


def test_the_files_are_as_written(tmp_path: Path) -> None:
    made = vectors(tmp_path)
    if os.environ.get("GRAPHDET_GOLDEN") == "write":
        FOLDER.mkdir(exist_ok=True)
        for name, (content, _) in made.items():
            (FOLDER / f"{name}.gdet").write_bytes(content)
        words = json.dumps({name: words for name, (_, words) in made.items()}, indent=1)
        (FOLDER / "words.json").write_text(words + "\n")
        return
    assert {name: words for name, (_, words) in made.items()} == WORDS
    for name, (content, _) in made.items():
        assert (FOLDER / f"{name}.gdet").read_bytes() == content, "the format has changed; `make golden` rewrites them"


@pytest.mark.parametrize("name", WORDS)
def test_both_readers_say_the_same(name: str) -> None:
    native: Any = importlib.import_module("graphdet.runtime._C")
    path = FOLDER / f"{name}.gdet"
    expected = name.split("-")[0] if name != "good" else ""
    try:
        read_artefact(path).verify()
        found = ("", "")
    except GdError as error:
        found = (error.code, error.message)
    assert found[0] == expected
    assert WORDS[name] in found[1]
    code, _, text = native._check_artefact(str(path)).partition(": ")
    assert code == expected
    assert WORDS[name] in text
