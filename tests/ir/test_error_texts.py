"""The words of the mistakes that authors make: one user file a mistake in `golden/errors`, its text beside it."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from graphdet.errors import GdError

FILES = sorted((Path(__file__).parent.parent / "golden" / "errors").glob("*.py"))
WITHOUT_PLACE = {"unknown_variant"}  # a name, which may come from a command line as well


def text_of(file: Path) -> str:
    with pytest.raises(GdError) as caught:
        runpy.run_path(str(file), run_name="user")
    # the lines of the zoo move
    return re.sub(r"^(  (?!errors/)\S+\.py):\d+$", r"\1:…", f"{caught.value}\n", flags=re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_text(file: Path, golden: Callable[[str, str], None]) -> None:
    golden(f"errors/{file.stem}.txt", text_of(file))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_text_points_into_the_users_file(file: Path) -> None:
    text = text_of(file)
    if file.stem not in WITHOUT_PLACE:
        assert f"errors/{file.name}:" in text
    assert str(file.parent.parent) not in text  # nothing about the machine
    assert "graphdet/ir" not in text
    assert all(len(line) <= 180 for line in text.splitlines())


CARETS = {
    "baked_batch_reshape": "(8, -1, 4)",
    "baked_size_add": "position",
    "double_sigmoid": "scores",
    "floats_for_labels": "ops.best(scores)",
    "frame_misspelt": '"nett"',
    "logits_for_scores": "ops.best(logits)",
    "plain_for_boxes": "raw",
    "unknown_attribute": "strid=2",
    "wrong_channels_add": "narrow",
    "wrong_conv_weight": "weight",
    "wrong_frame_nms": "boxes",
}


@pytest.mark.parametrize(("name", "guilty"), CARETS.items())
def test_caret_stands_under_the_guilty_expression(name: str, guilty: str) -> None:
    lines = text_of(next(f for f in FILES if f.stem == name)).splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() and set(line.strip()) == {"^"})
    start, stop = lines[at].index("^"), lines[at].rindex("^") + 1
    assert lines[at - 1][start:stop] == guilty


def test_every_mistake_has_its_text() -> None:
    texts = {f.stem for f in FILES[0].parent.glob("*.txt")}
    assert texts == {f.stem for f in FILES}
