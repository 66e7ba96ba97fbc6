"""Places: the caret stands under the expression or its operand, and shared parts show their caller."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

import pytest

from graphdet.ir.source import Place, Places, Span, here, place_of, render


def seen(*_: Any, **__: Any) -> Places:
    return here()


class Node:
    """Operators that capture their place."""

    def __add__(self, other: Any) -> Places:
        return here()


def marked(text: str) -> str:
    """What the first carets of an excerpt stand under."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip() and set(line.strip()) == {"^"})
    return lines[at - 1][lines[at].index("^") : lines[at].rindex("^") + 1]


def run(source: str, name: str = "user.py", **names: Any) -> Places:
    """The place that user code captures; frames of this file lie outside of it."""
    text = f"def declare():\n    return {source}\n"
    path = f"/somewhere/mine/{name}"
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    scope: dict[str, Any] = {"here": here, "__name__": "mine", **names}
    exec(compile(text, path, "exec"), scope)
    places: Places = scope["declare"]()
    return places


def machinery() -> dict[str, Any]:
    """A caller of `here` whose frames are skipped, as an op's are."""
    scope: dict[str, Any] = {"here": here, "__name__": "graphdet.ops.fake"}
    methods = "".join(f"    {name} = lambda *_: here()\n" for name in ("__add__", "__getitem__"))
    exec(f"def f(*a, **k): return here()\nclass V:\n{methods}", scope)
    return {"f": scope["f"], "v": scope["V"]()}


@pytest.mark.parametrize(
    ("source", "operand", "guilty"),
    [
        ("f(1, x)", None, "f(1, x)"),
        ("f(1, x)", 0, "1"),
        ("f(1, x)", 1, "x"),
        ("f(1, size=x)", "size", "x"),
        ("f(1, size=x)", "size=", "size=x"),
        ("f(1, size=x)", (1, "size"), "x"),
        ("f(1, size=x)", (0, "size"), "1"),
        ("f(*[x], 1)", 1, "f(*[x], 1)"),
        ("f(1)", 3, "f(1)"),
        ("f(1)", "size", "f(1)"),
        ("v + x", 0, "v"),
        ("v + x", 1, "x"),
        ("v[x]", 0, "v[x]"),
        ("f(f(x), 'é', x)", 2, "x"),
        ("f(  # a call\n        x,\n        1,\n    )", 1, "1"),
        ("f(\n        x,\n        size=(1,\n              2),\n    )", "size", "(1,"),
    ],
)
def test_caret(source: str, operand: Span, guilty: str) -> None:
    places = run(source, x=3, **machinery())
    assert marked(places[0].excerpt(operand)) == guilty


def test_carets_stand_right_of_wide_characters() -> None:
    places = run("[None, 'ä', f(x)][2]", x=3, **machinery())
    assert marked(places[0].excerpt()) == "f(x)"
    assert marked(places[0].excerpt(0)) == "x"


def test_place_names_the_last_folder_alone() -> None:
    places = run("f()", **machinery())
    assert str(places[0]) == "mine/user.py:2"
    assert places[0].excerpt().splitlines()[0] == "  mine/user.py:2"


def test_a_part_in_another_file_shows_its_caller() -> None:
    inner: dict[str, Any] = {"__name__": "part", **machinery()}
    text = "def part(x):\n    return f(x)\n"
    linecache.cache["/somewhere/parts/part.py"] = (
        len(text),
        None,
        text.splitlines(keepends=True),
        "/somewhere/parts/part.py",
    )
    exec(compile(text, "/somewhere/parts/part.py", "exec"), inner)
    shown = render(run("part(1)", part=inner["part"]), 0).splitlines()
    assert shown[0] == "  parts/part.py:2"
    assert shown[3:5] == ["  called from", "  mine/user.py:2"]


def test_a_part_in_the_same_file_does_not() -> None:
    def part() -> Places:
        return seen()

    assert "called from" not in render(part())


def test_text_without_source() -> None:
    assert render(()) == ""
    assert str(Place(text="zoo/yolox.py:3")) == "zoo/yolox.py:3"
    assert Place(text="zoo/yolox.py:3").excerpt(1) == "  zoo/yolox.py:3"
    scope: dict[str, Any] = {"__name__": "mine", **machinery()}
    exec(compile("def declare(): return f()", "<string>", "exec"), scope)
    assert scope["declare"]()[0].excerpt() == "  <string>:1"


def test_places_stop_at_the_users_module() -> None:
    scope: dict[str, Any] = {"__name__": "mine", **machinery()}
    exec(compile("places = f()", "/somewhere/mine/top.py", "exec"), scope)
    assert [str(p) for p in scope["places"]] == ["mine/top.py:1"]


def test_place_of_a_function() -> None:
    assert str(place_of(test_place_of_a_function)[0]).startswith("ir/test_source.py:")
    assert place_of(len) == ()


@pytest.mark.parametrize("call", [lambda: seen(), lambda: Node() + 1])
def test_this_file_counts_as_user_code(call: Callable[[], Places]) -> None:
    assert str(call()[0]).startswith("ir/test_source.py:")
