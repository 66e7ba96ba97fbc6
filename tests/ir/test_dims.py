"""Symbolic dims say what integers say, at every size; their text reads back; what cannot be decided is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphdet.ir.dims import Dim, minimum, parse_dim, product

H, W, N = Dim.symbol("H", 32), Dim.symbol("W", 32), Dim.symbol("N")
NAMES = {"H": H, "W": W, "N": N}
SIZES = st.fixed_dictionaries(
    {
        "H": st.integers(1, 40).map(lambda k: 32 * k),
        "W": st.integers(1, 40).map(lambda k: 32 * k),
        "N": st.integers(1, 9),
    }
)
LEAVES = st.one_of(st.sampled_from(["H", "W", "N"]), st.integers(-9, 40).map(str))
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(inner, st.integers(1, 7)).map(lambda t: f"({t[0]}//{t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"min({t[0]},{t[1]})"),
    ),
    max_leaves=6,
)


def number(text: str, sizes: dict[str, int]) -> int:
    """The expression in Python's own integers."""
    value: Any = eval(text, {"min": min, "__builtins__": {}}, dict(sizes))
    return int(value)


@given(EXPRESSIONS, SIZES)
def test_arithmetic_equals_integers(text: str, sizes: dict[str, int]) -> None:
    assert parse_dim(text, NAMES).evaluate(sizes) == number(text, sizes)


@given(EXPRESSIONS)
def test_text_reads_back(text: str) -> None:
    dim = parse_dim(text, NAMES)
    again = parse_dim(str(dim), NAMES)
    assert again == dim
    assert str(again) == str(dim)
    assert hash(again) == hash(dim)


@given(EXPRESSIONS, SIZES)
def test_substitution_equals_evaluation(text: str, sizes: dict[str, int]) -> None:
    dim = parse_dim(text, NAMES)
    assert dim.substitute(sizes) == dim.evaluate(sizes)
    part = dim.substitute({"H": sizes["H"]})
    assert part.evaluate({"W": sizes["W"], "N": sizes["N"]}) == dim.evaluate(sizes)


@given(EXPRESSIONS, EXPRESSIONS, SIZES)
def test_equal_dims_are_equal_at_every_size(a: str, b: str, sizes: dict[str, int]) -> None:
    left, right = parse_dim(a, NAMES), parse_dim(b, NAMES)
    if left == right:
        assert left.evaluate(sizes) == right.evaluate(sizes)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 9), st.integers(1, 200))
def test_nested_floors_are_one_floor(a: int, b: int, shift: int, n: int) -> None:
    nested = (N // a + shift) // b
    assert nested == (N + shift * a) // (a * b)
    assert nested.evaluate({"N": n}) == (n // a + shift) // b


def test_divisibility_makes_strides_exact() -> None:
    assert str(H // 8) == "H/8"
    assert H // 8 * 2 == H // 4
    assert (H + 2 - 3) // 2 + 1 == H // 2  # a 3x3 convolution of stride 2 with padding 1
    assert (H // 32 - 1) // 2 + 1 == (H // 32 + 1) // 2
    assert str((H // 32 + 1) // 2) == "((H/32+1)//2)"


def test_division_by_a_symbol_cancels_or_is_refused() -> None:
    assert N * H * 4 // N == H * 4
    assert (N + 1) // (N + 1) == 1
    with pytest.raises(ArithmeticError, match="not divisible"):
        H // N
    with pytest.raises(ArithmeticError, match="not divisible"):
        (N * 3) // (N * 2)
    with pytest.raises(ArithmeticError, match="not divisible"):
        N / 2


def test_division_by_zero_is_refused() -> None:
    for text in ("N//0", "N/0", "H//(N-N)"):
        with pytest.raises(ArithmeticError):
            parse_dim(text, NAMES)


def test_constants_and_symbols() -> None:
    assert Dim.of(7).constant == 7
    assert (N - N).constant == 0
    assert N.constant is None
    assert Dim.of(7) == 7
    assert {s.name for s in (minimum(N * 2, H) + W).symbols} == {"N", "H", "W"}
    assert minimum(3, 5) == 3
    assert minimum(N, N) == N
    assert minimum(N, H) == minimum(H, N)
    assert product((N, Dim.of(3), H)) == 3 * N * H
    assert 5 - N == -(N - 5)


def test_bounds() -> None:
    rows, kinds = Dim.symbol("R", bound=100), Dim.symbol("B", 4, bound=40)
    assert (rows.bound, kinds.bound, Dim.of(7).bound, N.bound) == (100, 40, 7, None)
    assert (rows * 3 + kinds).bound == 340
    assert (rows - kinds).bound == 100, "sizes are never negative"
    assert (N * rows).bound is None
    assert ((rows + 5) // 10).bound == 10
    assert (N // 3).bound is None
    assert minimum(N, rows * 2).bound == 200
    assert minimum(N, H).bound is None
    assert (rows - N).bound == 100


@pytest.mark.parametrize("text", ["N**2", "f(N)", "N.x", "'N'", "N if N else 1", "1.5", "N[0]", "~N", "min(N)", "True"])
def test_other_expressions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a dimension"):
        parse_dim(text, NAMES)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        parse_dim("M", NAMES)
