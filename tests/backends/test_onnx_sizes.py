"""Symbolic sizes in ONNX say what `Dim.evaluate` says, whatever the expression and wherever the symbols can be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto

from graphdet.compiler.backends.onnx.emitter import Emitter
from graphdet.errors import InternalError
from graphdet.ir.dims import Dim, minimum
from graphdet.ir.types import Type, tensor
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment

N, A = Dim.symbol("N"), Dim.symbol("A", 1, 500)
H, W = Dim.symbol("H", 32), Dim.symbol("W", 8)
SIZES = st.fixed_dictionaries(
    {
        "N": st.integers(1, 5),
        "A": st.integers(0, 9),
        "H": st.sampled_from([32, 64, 416]),
        "W": st.sampled_from([8, 48, 320]),
    }
)
LEAVES = st.sampled_from([N, A, H, W, H // 32, W // 8, Dim.of(3), Dim.of(0)])
DIMS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: p[0] + p[1]),
        st.tuples(inner, inner).map(lambda p: p[0] * p[1]),
        st.tuples(inner, inner).map(lambda p: minimum(*p)),
        st.tuples(inner, st.integers(1, 7)).map(lambda p: p[0] // p[1]),
        st.tuples(inner, st.integers(1, 7)).map(lambda p: (p[0] + p[1] - 1) // p[1]),
    ),
    max_leaves=6,
)


def ask(
    dims: tuple[Dim, ...], types: dict[str, Type], sizes: dict[str, int], made: tuple[Dim, ...] = ()
) -> tuple[Array, Array]:
    """The sizes as a vector, and the first one as a scalar, computed by ONNX Runtime from inputs of the given types.

    made: the sizes of a value that an operator makes.
    """
    model = ModelProto(ir_version=8)
    model.opset_import.add(domain="", version=18)
    model.graph.name = "sizes"
    emitter = Emitter(model.graph, set(types))
    for name, type in types.items():
        info = model.graph.input.add(name=name).type.tensor_type
        info.elem_type = TensorProto.FLOAT
        for _ in type.dims:
            info.shape.dim.add()
        emitter.know(name, type, source=True)
    if made:
        value = emitter.constant(np.zeros([d.evaluate(sizes) for d in made], np.float32))
        emitter.know(emitter.Identity(value), tensor("f32", *made))
    found = emitter.Identity(emitter.sizes(dims)), emitter.Identity(emitter.size(dims[0]))
    for name in found:
        model.graph.output.add(name=name).type.tensor_type.elem_type = TensorProto.INT64
    arrays = {k: np.zeros([d.evaluate(sizes) for d in t.dims], np.float32) for k, t in types.items()}
    vector, scalar = open_segment("onnxruntime", model.SerializeToString(), threads=1).run(arrays)
    return vector, scalar


WHOLE = {"x": tensor("f32", N, H), "y": tensor("f32", A, W)}
INNER = {"x": tensor("f32", N + 1, H // 4 + 3), "y": tensor("f32", A, W // 2 - 1)}


@pytest.mark.parametrize("types", [WHOLE, INNER], ids=["full sizes", "inner sizes"])
@given(dims=st.lists(DIMS, min_size=1, max_size=3), sizes=SIZES)
def test_sizes(types: dict[str, Type], dims: list[Dim], sizes: dict[str, int]) -> None:
    vector, scalar = ask(tuple(dims), types, sizes)
    assert vector.dtype == scalar.dtype == np.int64
    assert vector.tolist() == [d.evaluate(sizes) for d in dims]
    assert scalar.shape == ()
    assert scalar == dims[0].evaluate(sizes)


def test_a_size_that_only_stands_inside_an_expression() -> None:
    """min(A, 7) is an input's size; A itself is not, and cannot be found."""
    few = minimum(A, 7)
    vector, _ = ask((few, few * 2 + 1), {"x": tensor("f32", few)}, {"A": 9})
    assert vector.tolist() == [7, 15]
    with pytest.raises(InternalError, match="the size A can be read off no input"):
        ask((A,), {"x": tensor("f32", few)}, {"A": 9})


@given(count=st.integers(0, 9))
def test_a_size_that_depends_on_data(count: int) -> None:
    """It is read off the value that shows it, also inside products of sizes that inputs show."""
    made = Dim.symbol("R", bound=9)
    vector, _ = ask((made, N * made * 3, N + 1), {"x": tensor("f32", N)}, {"N": 2, "R": count}, (made, N))
    assert vector.tolist() == [count, 6 * count, 3]
