"""Types print and read back; unknown words are refused with a suggestion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphdet.errors import UnknownName
from graphdet.ir.dims import Dim
from graphdet.ir.types import DTYPES, FORMATS, FRAMES, Type, boxes, dtype_name, numpy_dtype, parse_type, tensor

NAMES = {"N": Dim.symbol("N"), "H": Dim.symbol("H", 32)}
DIMS = st.lists(
    st.sampled_from([Dim.of(0), Dim.of(80), NAMES["N"], NAMES["H"] // 8, NAMES["N"] * NAMES["H"] + 3]), max_size=4
)
MEANINGS = st.one_of(
    st.sampled_from(["tensor", "logits", "scores", "labels"]).map(lambda kind: (kind, "", "")),
    st.tuples(st.just("boxes"), st.sampled_from(FORMATS), st.sampled_from(FRAMES)),
    st.tuples(st.sampled_from(["points", "masks"]), st.just(""), st.sampled_from(FRAMES)),
)


@given(st.sampled_from(DTYPES), DIMS, MEANINGS)
def test_text_reads_back(dtype: str, dims: list[Dim], meaning: tuple[str, str, str]) -> None:
    made = Type(dtype, tuple(dims), *meaning)
    assert parse_type(str(made), NAMES) == made


def test_text() -> None:
    assert str(tensor("f32", NAMES["N"], 3)) == "f32[N 3]"
    assert str(boxes("net", NAMES["N"], 4)) == "boxes<xyxy,net> f32[N 4]"
    assert str(tensor("f32")) == "f32[]"
    assert boxes("image", 4, format="cxcywh").meaning == "boxes<cxcywh,image>"
    assert tensor("i64", 2, NAMES["H"]).rank == 2


def test_substitute_and_with_dims() -> None:
    made = boxes("net", NAMES["N"], 4)
    assert str(made.substitute({"N": 2})) == "boxes<xyxy,net> f32[2 4]"
    assert str(made.with_dims((3, 7, 4))) == "boxes<xyxy,net> f32[3 7 4]"


def test_misspelt_words_get_a_suggestion() -> None:
    with pytest.raises(UnknownName) as caught:
        boxes("imgae", 4)
    assert caught.value.help == "did you mean 'image'?"
    with pytest.raises(UnknownName, match="unknown format 'xyyx'"):
        boxes("net", 4, format="xyyx")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f32",
        "f33[N]",
        "f32[N",
        "boxes<xyxy,net>",
        "cats f32[N]",
        "boxes<xyxy,moon> f32[N 4]",
        "boxes<a,b,c> f32[4]",
        "boxes f32[4]",
        "scores<net> f32[4]",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a type"):
        parse_type(text, NAMES)


def test_numpy_dtypes() -> None:
    for name in ("f32", "f16", "f64", "i64", "i32", "u8", "b"):
        assert dtype_name(numpy_dtype(name)) == name
    assert numpy_dtype("bf16") == np.float32
    with pytest.raises(UnknownName, match="complex64"):
        dtype_name(np.dtype("complex64"))
