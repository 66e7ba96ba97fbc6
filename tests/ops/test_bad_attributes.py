"""What the ops' type rules refuse: attributes without a meaning, sizes that do not exist, dtypes that do not agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphdet import ops
from graphdet.errors import (
    BadAttribute,
    FrameMismatch,
    GdError,
    InternalError,
    KindMismatch,
    ShapeMismatch,
    UnknownName,
)
from graphdet.ir import OPS, Dim, Value, op, tensor, tracing
from graphdet.ir.graph import Graph
from graphdet.ir.op import TRAIN
from graphdet.ir.trace import graph_input
from graphdet.ir.types import Type, parse_type
from graphdet.records import Array
from tests.ops.cases import DECLARED
from tests.ops.test_every_op import run_onnx

N, H = Dim.symbol("N"), Dim.symbol("H", 32)


def types(*texts: str) -> tuple[Type, ...]:
    return tuple(parse_type(t, {"N": N, "H": H}) for t in texts)


CONV = ("f32[N 4 H H]", "f32[4 4 3 3]", "f32[4]")
NMS = ("boxes<xyxy,net> f32[N 9 4]", "scores f32[N 9]", "i64[N 9]", "f32[]", "f32[]")
TOP = ("scores f32[N 9 3]", "f32[]")


@pytest.mark.parametrize(
    ("name", "operands", "attributes", "error", "part"),
    [
        ("conv2d", CONV, {"stride": 0}, BadAttribute, "'stride' is 0, expected a whole number of at least 1"),
        ("conv2d", CONV, {"stride": 1.5}, BadAttribute, "'stride' is 1.5, expected a whole number of at least 1"),
        ("conv2d", CONV, {"stride": (2, 2)}, BadAttribute, "'stride' is (2, 2), expected a whole number"),
        ("conv2d", CONV, {"stride": True}, BadAttribute, "'stride' is True"),
        ("conv2d", CONV, {"padding": -1}, BadAttribute, "'padding' is -1, expected a whole number of at least 0"),
        ("conv2d", CONV, {"groups": 0}, BadAttribute, "'groups' is 0"),
        ("conv2d", ("f32[N 6 H H]", "f32[4 2 3 3]"), {"groups": 3}, BadAttribute, "4 is not divisible by 3"),
        ("conv2d", ("f32[N 4 4 H]", "f32[4 4 7 7]"), {}, ShapeMismatch, "negative size: f32[N 4 -2 H-6]"),
        ("max_pool", CONV[:1], {"size": 0}, BadAttribute, "'size' is 0"),
        ("max_pool", ("f32[N 4 2 2]",), {"size": 5}, ShapeMismatch, "negative size"),
        ("upsample", CONV[:1], {"scale": 0}, BadAttribute, "'scale' is 0"),
        ("select_top", TOP, {"k": 0}, BadAttribute, "'k' is 0"),
        ("select_top", TOP, {"k": -1}, BadAttribute, "'k' is -1"),
        ("nms", NMS, {"keep": "x"}, BadAttribute, "'keep' is 'x'"),
        ("nms", NMS, {"keep": -1}, BadAttribute, "'keep' is -1"),
        ("nms", NMS, {"agnostic": 3}, BadAttribute, "'agnostic' is 3, expected True or False"),
        ("batch_norm", ("f32[N 3]", *["f32[3]"] * 4), {"eps": "x"}, BadAttribute, "'eps' is 'x', expected a number"),
        ("encode_deltas", NMS[:1] * 2, {"means": (0, 0)}, BadAttribute, "a tuple of 4 items, each a number"),
        ("transpose", CONV[:1], {"order": (0, 1.0)}, BadAttribute, "expected a tuple, each a whole number"),
        ("reshape", CONV[:1], {"shape": 3}, BadAttribute, "expected a tuple, each a dim or a whole number"),
        ("cast", CONV[:1], {"to": "zz"}, UnknownName, "unknown dtype 'zz'"),
        ("cast", CONV[:1], {"to": 3}, BadAttribute, "'to' is 3, expected a string"),
        ("total", TOP[:1], {"axes": (7,)}, BadAttribute, "there is no axis 7"),
        ("total", ("f32[N 9]",), {"axes": (1, -1)}, BadAttribute, "name an axis twice"),
        ("gather_rows", ("f32[N 2 9 4]", "i64[N 5]"), {}, ShapeMismatch, "with 4 dims, expected T[R D] or T[N R D]"),
        ("concat", ("f32[N 3]", "i64[N 3]"), {"axis": 1}, KindMismatch, "1 is i64[N 3], expected f32 as operand 0 is"),
        ("concat", ("f32[N 3]", "f32[N 3]"), {"axis": 2}, BadAttribute, "there is no axis 2"),
        ("concat", (NMS[0], "boxes<xyxy,image> f32[N 9 4]"), {"axis": 1}, FrameMismatch, "expected boxes<xyxy,net>"),
        ("concat", (), {"axis": 0}, BadAttribute, "at least one operand"),
        ("where", ("b[N]", "f32[N]", "i64[N]"), {}, KindMismatch, "'b' is i64[N], expected f32 as 'a' is"),
        ("where", ("b[N]", "scores f32[N]", "f32[N]"), {}, KindMismatch, "'b' is tensor, expected scores as 'a' is"),
        ("div", ("i64[N]", "i64[N]"), {}, KindMismatch, "'a' is i64[N], expected floats"),
        ("add", ("b[N]", "b[N]"), {}, KindMismatch, "'a' is b[N], expected numbers"),
        ("add", ("i64[N]", "f32[N]"), {}, KindMismatch, "'b' is f32[N], expected i64 as 'a' is"),
    ],
)  # fmt: skip
def test_refused(
    name: str, operands: tuple[str, ...], attributes: dict[str, Any], error: type[GdError], part: str
) -> None:
    with pytest.raises(error) as caught:
        OPS[name].infer_types(types(*operands), {**OPS[name].defaults, **attributes})
    assert type(caught.value) is error
    assert part in caught.value.message
    assert caught.value.message.startswith(f"{name}: ")


def test_the_caret_stands_under_the_attribute() -> None:
    with tracing("mine"), pytest.raises(BadAttribute) as caught:
        ops.upsample(graph_input("x", tensor("f32", N, 3, H, H)), scale=0)
    line, caret = caught.value.where.splitlines()[1:3]
    assert line[caret.index("^") : caret.rindex("^") + 1] == "0"


def test_a_rule_that_fails_without_attributes_is_our_fault() -> None:
    @op("f[*S] -> f[*S]")
    def broken(x: Value) -> Any: ...

    try:
        broken.infer(lambda x: 1 / 0)
        with pytest.raises(InternalError, match="broken: its type rule failed"):
            broken.infer_types(types("f32[N]"), {})
    finally:
        del OPS["broken"]


@pytest.mark.parametrize(
    ("dims", "key", "result"),
    [
        ("N 3", (slice(None, 100),), "min(100,N) 3"),
        ("N 3", (slice(-5, None),), "min(5,N) 3"),
        ("N 3", (slice(None, -5),), "N-min(5,N) 3"),
        ("N 3", (slice(2, 5),), "-min(2,N)+min(5,N) 3"),
        ("N 3", (slice(5, 2),), "0 3"),
        ("H 3", (slice(1, None, 2),), "H/2 3"),
        ("N 3", (slice(None), slice(2, 1)), "N 0"),
        ("N 3", (slice(None), slice(9, None)), "N 0"),
        ("N 3", (slice(None), slice(-9, -1)), "N 2"),
        ("N 9", (slice(None), slice(1, 8, 3)), "N 3"),
        ("N+4 3", (slice(0, N),), "N 3"),
        ("N+4 3", (slice(N, N + 1),), "1 3"),
        ("N 3", (slice(0, H),), "min(H,N) 3"),
        ("3 N", (-3, slice(None)), "N"),
    ],
)
def test_slices(dims: str, key: tuple[Any, ...], result: str) -> None:
    with tracing("mine"):
        found = graph_input("x", types(f"f32[{dims}]")[0])[key]
    assert (found.type,) == types(f"f32[{result}]")
    assert str(found.type) == f"f32[{result}]"


@pytest.mark.parametrize("start", [None, 0, 1, 4, 7, -1, -4, -7])
@pytest.mark.parametrize("stop", [None, 0, 1, 4, 7, -1, -4, -7])
@pytest.mark.parametrize("step", [None, 1, 3])
def test_sizes_of_slices_are_pythons(start: int | None, stop: int | None, step: int | None) -> None:
    with tracing("mine"):
        size = graph_input("x", tensor("f32", N))[start:stop:step].dim(0)
        for n in range(9):
            fixed = graph_input(f"x{n}", tensor("f32", n))[start:stop:step].dim(0)
            assert fixed == size.evaluate({"N": n}) == size.substitute({"N": n}) == len(range(n)[start:stop:step])


@pytest.mark.parametrize(
    ("key", "error"),
    [(5, ShapeMismatch), (-4, ShapeMismatch), (slice(None, None, -1), BadAttribute), (slice(0, 2, 0), BadAttribute)],
)
def test_refused_indices(key: Any, error: type[GdError]) -> None:
    with tracing("mine"), pytest.raises(error):
        graph_input("x", tensor("f32", N, 3))[:, key]


def test_plain_numbers_take_the_dtype_beside_them() -> None:
    with tracing("mine"):
        whole, half = graph_input("i", tensor("i64", N)), graph_input("h", tensor("f16", N))
        mask = whole > 0.5
        assert (whole + 1).type == (1 - whole).type == (-whole).type == whole.type
        assert (half * 0.5).type == half.type
        assert mask.type == tensor("b", N)
        assert ops.where(mask, whole, -1).type == ops.where(mask, -1, whole).type == whole.type
        with pytest.raises(KindMismatch):
            whole + 0.5
        with pytest.raises(KindMismatch):
            ops.cast(whole, to="u8") + 300


def traced(function: Any, *inputs: Type) -> Graph:
    with tracing("mine") as opened:
        result = function(*(graph_input(f"x{i}", t) for i, t in enumerate(inputs)))
    return opened.graph({"y0": result})


def test_comparing_integers_with_a_fraction() -> None:
    graph = traced(lambda x: x > 0.5, tensor("i64", 4))
    found = run_onnx(graph, {"x0": np.arange(-1, 3)})
    np.testing.assert_array_equal(found[0], [False, False, True, True])


BF16 = np.asarray([1.0, 1.00390625, 1.01171875, -3.14159, 1e38, 1e-40, 0.0, np.inf, -np.inf, np.nan], np.float32)


def by_reference(x: Array) -> Array:
    found: Array = ops.cast.rules["reference"](x, to="bf16")
    return found


def test_bf16_is_rounded_alike_in_torch() -> None:
    torch = pytest.importorskip("torch")
    found = ops.cast.rules["torch"](torch, torch.from_numpy(BF16), to="bf16")
    assert found.dtype == torch.bfloat16
    np.testing.assert_array_equal(found.float().numpy(), by_reference(BF16))
    assert by_reference(np.asarray([True, False])).dtype == np.float32


def test_bf16_is_rounded_alike_in_onnx() -> None:
    graph = traced(lambda x: ops.cast(ops.cast(x, to="bf16"), to="f32"), tensor("f32", len(BF16)))
    np.testing.assert_array_equal(run_onnx(graph, {"x0": BF16})[0], by_reference(BF16))


def test_ops_of_training_say_why_they_are_not_in_onnx() -> None:
    for each in DECLARED:
        if TRAIN in each.traits and "onnx" not in each.rules:
            assert each.absences["onnx"]
