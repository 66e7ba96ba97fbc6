"""Every error class is documented, has a code of its own, and prints what a user needs."""

from __future__ import annotations

import re

import pytest

from graphdet import errors
from graphdet.cli import _pages as pages
from graphdet.errors import GdError, catalogue, nearest

CLASSES = catalogue()
HUNDREDS = "1234569"  # declaration, types, compile, runtime, data, training, our fault


def test_codes_are_unique() -> None:
    assert len({e.code for e in CLASSES}) == len(CLASSES)
    assert len({e.__name__ for e in CLASSES}) == len(CLASSES)
    assert [e.code for e in CLASSES] == sorted(e.code for e in CLASSES)


def test_every_error_is_in_the_catalogue() -> None:
    public = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, GdError) and v is not GdError}
    assert public == set(CLASSES)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_documented(kind: type[GdError]) -> None:
    assert re.fullmatch(r"GD\d{3}", kind.code)
    assert kind.code[2] in HUNDREDS
    assert kind.__doc__
    assert kind.__doc__ != GdError.__doc__
    assert kind.__doc__.strip().endswith((".", "`"))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
def test_has_its_place_on_the_page(kind: type[GdError]) -> None:
    page = pages.errors()
    assert re.search(rf"^#+ {kind.code}\b", page, re.MULTILINE)
    assert kind.__name__ in page


def test_text() -> None:
    error = errors.ShapeMismatch("found 3, expected 4", where="  mine.py:3", help="count again")
    assert str(error).splitlines() == [
        "GD102 found 3, expected 4",
        "  mine.py:3",
        "  help: count again",
        "  see docs/errors.md#gd102",
    ]
    assert error.as_dict() == {
        "code": "GD102",
        "message": "found 3, expected 4",
        "where": "  mine.py:3",
        "help": "count again",
    }


def test_suggestions() -> None:
    assert nearest("nett", ("net", "image")) == "did you mean 'net'?"
    assert nearest("xyz", ("net", "image")) == ""
    assert nearest("", ()) == ""
