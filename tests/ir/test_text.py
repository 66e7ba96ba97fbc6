"""The printed form: it reads back to an equal graph, and a damaged text is refused with the line's number."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphdet import ops
from graphdet.errors import BadText, GdError
from graphdet.ir import Dim, Graph, constant, parse, tensor, to_text, trace, tracing, verify
from graphdet.ir.text import arrays_of
from graphdet.ir.trace import graph_input
from graphdet.zoo import get, variants
from tests.ir.tiny import graph

TEXTS = {phase: to_text(graph(phase)) for phase in ("infer", "train")}


def same(first: Graph) -> None:
    text = to_text(first)
    again = parse(text, arrays_of(first))
    verify(again)
    assert to_text(again) == text
    assert again.hash == first.hash
    assert list(again.params) == list(first.params)
    assert [str(v.type) for v in again.inputs.values()] == [str(v.type) for v in first.inputs.values()]


@pytest.mark.parametrize("phase", ["infer", "train"])
@pytest.mark.parametrize("name", variants())
def test_every_variant_reads_back(name: str, phase: str) -> None:
    same(trace(get(name), phase))


def test_places_can_be_left_out() -> None:
    text = to_text(graph(), places=False)
    assert "tiny.py" not in text
    assert "; " not in text
    assert parse(text).hash == graph().hash


def test_constants() -> None:
    with tracing("mine") as opened:
        x = graph_input("x", tensor("f32", Dim.symbol("N", bound=300), 17))
        small = constant(np.asarray([[1.5], [float("inf")]], np.float32))
        large = constant(np.arange(17, dtype=np.float32))
        empty = constant(np.zeros((0, 17), np.float32))
        flag = constant(np.asarray(True))
        outputs = {"a": x * large, "b": small, "c": empty, "d": ops.where(flag, x, x)}
        first = opened.graph(outputs)
    assert list(arrays_of(first).values()) == [pytest.approx(np.arange(17))]
    same(first)
    with pytest.raises(BadText, match="not in the table of arrays"):
        parse(to_text(first))


def test_nan_constants_read_back() -> None:
    with tracing("mine") as opened:
        same(opened.graph({"a": constant(np.asarray([float("nan"), 1.0], np.float32))}))


@pytest.mark.parametrize(
    ("number", "line", "part"),
    [
        (3, "%0 = input", "not a node line"),
        (3, '%0 = inputt {"name": "x"} : f32[N]', "unknown op 'inputt'"),
        (3, '%0 = input {"name": } : f32[N]', "Expecting value"),
        (3, '%0 = input {"name": "x"} : f33[N]', "not a type"),
        (3, '%0 = input {"name": "x"} : f32[M]', "M"),
        (3, '%0 = input {"name": "x"} : f32[N-]', "not a dimension"),
        (3, '%0 = input {"name": "x"} : f32[N/3]', "not divisible"),
        (3, '%0 = input {"name": "x"} : cats f32[N]', "not a type"),
        (3, "%0 = relu(%9) : f32[N]", "%9"),
        (3, "%0, %1 = relu(_) : f32[N]", "2"),
        (3, '%0 = reshape(_) {"shape": [{"dim": "Q"}]} : f32[N]', "Q"),
        (3, '%0 = const {"value": {"array": {"dtype": "f99", "shape": [1], "data": [1]}}} : f32[1]', "f99"),
        (3, '%0 = const {"value": {"array": {"dtype": "float32", "shape": [3], "data": [1]}}} : f32[3]', "reshape"),
        (3, '%0 = const {"value": {"x": 1}} : f32[3]', "array"),
        (3, "output boxes = %7", "%7"),
        (3, "output boxes", ""),
        (3, "tap", ""),
        (2, "dims N%x", "invalid literal"),
        (2, "dims N%0", "N%0"),
        (1, "graph only", "expected `graph <name> <phase>`"),
    ],
)
def test_damaged_lines(number: int, line: str, part: str) -> None:
    lines = ["graph mine infer", "dims N%1"]
    lines[number - 1 :] = [line]
    with pytest.raises(BadText) as caught:
        parse("\n".join(lines))
    assert caught.value.message.startswith(f"line {number}: ")
    assert part in caught.value.message


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(BadText, match="line 1"):
        parse("")


LINES = TEXTS["infer"].splitlines()


@given(st.data())
def test_a_mutated_text_raises_only_own_errors(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = data.draw(st.integers(0, len(line)))
        stop = data.draw(st.integers(cut, min(len(line), cut + 6)))
        piece = data.draw(
            st.one_of(
                st.text(max_size=4),
                st.sampled_from(['"', "{", "]", "%1", "((", "-1", "//0", "N", "null", "[[", "1e999", ", "]),
            )
        )
        match data.draw(st.sampled_from(["splice", "drop", "twice", "swap"])):
            case "splice":
                lines[at] = line[:cut] + piece + line[stop:]
            case "drop" if len(lines) > 1:
                del lines[at]
            case "twice":
                lines.insert(at, line)
            case "swap":
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], line
            case _:
                pass
    with suppress(GdError):
        verify(parse("\n".join(lines)))


@given(st.text(max_size=200))
def test_any_text_raises_only_own_errors(text: str) -> None:
    with suppress(GdError):
        verify(parse(text))
