"""Op declarations: what a signature may say, how operands are matched, and how calls are bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from graphdet import ops
from graphdet.errors import (
    BadAttribute,
    BadSignature,
    BakedDim,
    FrameMismatch,
    GdError,
    KindMismatch,
    NoTrace,
    ShapeMismatch,
    UnknownName,
)
from graphdet.ir import OPS, Dim, Type, boxes, op, setting, tensor, tracing
from graphdet.ir.op import TRAIN, check_attribute
from graphdet.ir.signature import parse_signature
from graphdet.ir.trace import graph_input
from graphdet.ir.types import parse_type

N, H, A = Dim.symbol("N"), Dim.symbol("H", 32), Dim.symbol("A")
NAMES = {"N": N, "H": H, "A": A}


def types(*texts: str) -> tuple[Type | None, ...]:
    return tuple(parse_type(t, NAMES) if t else None for t in texts)


@pytest.fixture
def scratch() -> Iterator[None]:
    """Ops declared in a test vanish with it."""
    before = set(OPS)
    yield
    for name in set(OPS) - before:
        del OPS[name]


@pytest.mark.parametrize(
    ("signature", "part"),
    [
        ("f[N C]", "has no '->'"),
        ("g[N] -> f[N]", "cannot read 'g[N]'"),
        ("f[N] -> f[N", "cannot read 'f[N'"),
        ("f[N] + f[N] -> f[N]", "cannot read '+'"),
        ("f[N] -> f[N] extra", "cannot read 'extra'"),
        ("boxes<xyxy net>[N 4] -> f[N]", "cannot read"),
    ],
)
def test_unreadable_signatures(signature: str, part: str) -> None:
    with pytest.raises(BadSignature) as caught:
        parse_signature(signature, "mine")
    assert part in caught.value.message
    assert "'mine'" in caught.value.message


def test_slots_of_a_signature() -> None:
    sources, results = parse_signature("boxes<xyxy,F>[N K 4], f[*S]?, T[]* -> i64[N], scores[N K]", "mine")
    assert [str(s) for s in sources] == ["boxes<xyxy,F>[N K 4]", "f[*S]", "T[]"]
    assert [s.optional for s in sources] == [False, True, False]
    assert [s.repeated for s in sources] == [False, False, True]
    assert [s.kind for s in results] == ["i64", "scores"]


@pytest.mark.usefixtures("scratch")
def test_a_name_is_declared_once_and_traits_are_known() -> None:
    with pytest.raises(BadSignature, match="declared twice"):

        @op("f[*S] -> f[*S]")
        def relu(x: Any) -> Any: ...

    with pytest.raises(BadSignature) as caught:

        @op("f[*S] -> f[*S]", "TRAINN")
        def novel(x: Any) -> Any: ...

    assert caught.value.help == f"did you mean {TRAIN!r}?"


@pytest.mark.parametrize(
    ("name", "operands", "attributes", "results"),
    [
        (
            "conv2d",
            ("f32[N 3 H H]", "f32[8 3 3 3]", ""),
            {"stride": 2, "padding": 1, "dilation": 1, "groups": 1},
            ("f32[N 8 H/2 H/2]",),
        ),
        (
            "conv2d",
            ("f16[N 4 7 5]", "f16[4 1 3 3]", ""),
            {"stride": 1, "padding": 0, "dilation": 1, "groups": 4},
            ("f16[N 4 5 3]",),
        ),
        ("sigmoid", ("f32[N A 80]",), {}, ("scores f32[N A 80]",)),
        ("sigmoid", ("logits f32[N A 80]",), {}, ("scores f32[N A 80]",)),
        ("relu", ("scores f32[N]",), {}, ("scores f32[N]",)),
        ("mul", ("scores f32[N A]", "scores f32[N A]"), {}, ("scores f32[N A]",)),
        ("mul", ("scores f32[N A]", "f32[N A]"), {}, ("f32[N A]",)),
        ("add", ("f32[N 1 H]", "f32[A 1]"), {}, ("f32[N A H]",)),
        ("greater", ("f32[N A]", "f32[]"), {}, ("b[N A]",)),
        ("decode_points", ("points<net> f32[A 4]", "f32[N A 4]"), {}, ("boxes<xyxy,net> f32[N A 4]",)),
        ("decode_points", ("points<unit> f32[A 4]", "f32[N A 4]"), {}, ("boxes<xyxy,unit> f32[N A 4]",)),
        ("to_image", ("boxes<xyxy,net> f32[N A 4]", "f32[N 4]"), {}, ("boxes<xyxy,image> f32[N A 4]",)),
        ("best_index", ("scores f32[N A 80]",), {}, ("labels i64[N A]",)),
        ("concat", ("f32[N A 4]", "f32[N 10 4]"), {"axis": 1}, ("f32[N A+10 4]",)),
        ("reshape", ("f32[N H/8 H/8 36]",), {"shape": (N, -1, 4)}, ("f32[N H*H*9/64 4]",)),
        ("index", ("f32[N A 4]",), {"key": ("...", (1, -1, None))}, ("f32[N A 2]",)),
        ("gather_rows", ("f32[A 4]", "i64[N 7]"), {}, ("f32[N 7 4]",)),
    ],
)
def test_result_types(
    name: str, operands: tuple[str, ...], attributes: dict[str, Any], results: tuple[str, ...]
) -> None:
    found = OPS[name].infer_types(types(*operands), attributes)
    assert found == types(*results)


@pytest.mark.parametrize(
    ("name", "operands", "attributes", "error", "part"),
    [
        ("sigmoid", ("scores f32[N]",), {}, KindMismatch, "'x' is scores, expected logits"),
        ("sigmoid", ("i64[N]",), {}, KindMismatch, "'x' is i64[N], expected floats"),
        ("one_hot", ("f32[N]",), {"classes": 3}, KindMismatch, "'labels' is f32[N], expected i64[*S]"),
        ("to_image", ("boxes<xyxy,image> f32[N A 4]", "f32[N 4]"), {}, FrameMismatch, "expected boxes<xyxy,net>"),
        ("to_image", ("boxes<cxcywh,net> f32[N A 4]", "f32[N 4]"), {}, FrameMismatch, "'boxes' is boxes<cxcywh,net>"),
        (
            "to_image",
            ("boxes<xyxy,net> f32[N A 4]", "f32[N 2]"),
            {},
            ShapeMismatch,
            "'geometry' is f32[N 2]: dim 1 is 2, expected 4",
        ),
        ("to_image", ("boxes<xyxy,net> f32[N A 4]", "f32[4]"), {}, ShapeMismatch, "1 dims, expected f[N 4]"),
        (
            "to_image",
            ("boxes<xyxy,net> f32[N A 4]", "f32[2 4]"),
            {},
            BakedDim,
            "'geometry' is f32[2 4]: dim 0 is 2, expected N",
        ),
        ("to_image", ("boxes<xyxy,net> f32[2 A 4]", "f32[N 4]"), {}, BakedDim, "'boxes' has N = 2, but 'geometry'"),
        (
            "encode_points",
            ("points<net> f32[A 4]", "boxes<xyxy,unit> f32[N A 4]"),
            {"eps": 0.0},
            FrameMismatch,
            "expected boxes<xyxy,net>",
        ),
        ("bce", ("f32[N A]", "f32[N H]"), {}, ShapeMismatch, "'target' has dims [N H], expected [N A] as 'logits' has"),
        ("to_image", ("boxes<xyxy,net> f32[N A 4]", ""), {}, BadAttribute, "'geometry' is missing, expected f[N 4]"),
        ("add", ("f32[N A]", "f32[N H]"), {}, ShapeMismatch, "does not broadcast"),
        ("add", ("f32[8 A]", "f32[N A]"), {}, BakedDim, "'a' is f32[8 A]"),
        ("where", ("b[N A]", "f32[N A]", "f32[N 5]"), {}, BakedDim, "'b' is f32[N 5]"),
        (
            "where",
            ("b[N 5]", "f32[N 6]", "f32[N 6]"),
            {},
            ShapeMismatch,
            "'a' is f32[N 6]: its size 6 does not broadcast against 5",
        ),
        ("concat", ("f32[N A 4]", "f32[N A 5]"), {"axis": 1}, ShapeMismatch, "operand 1 is f32[N A 5]"),
        ("concat", ("f32[N A]", "scores f32[N A]"), {"axis": 1}, KindMismatch, "operand 1 is scores"),
        ("reshape", ("f32[N A 4]",), {"shape": (1, -1)}, BakedDim, "would join the images"),
        ("reshape", ("f32[N A 4]",), {"shape": (2, 100, 4)}, BakedDim, "do not fit [2 100 4]"),
        ("reshape", ("f32[N A 4]",), {"shape": (N, -1, 3)}, ShapeMismatch, "do not fit [N -1 3]"),
        ("reshape", ("f32[N A 4]",), {"shape": (N, 0, -1)}, ShapeMismatch, "do not fit"),
        ("reshape", ("f32[N A 4]",), {"shape": (-1, -1)}, BadAttribute, "more than one -1"),
        ("index", ("f32[N A 4]",), {"key": ("...", 4)}, ShapeMismatch, "4 lies outside"),
        ("index", ("f32[N]",), {"key": (0, 0)}, BadAttribute, "2 items for a value with 1 axes"),
        ("gather_rows", ("f32[2 5 4]", "i64[3 7]"), {}, ShapeMismatch, "'index' has rows of 3 images"),
        ("transpose", ("f32[N A 4]",), {"order": (0, 1)}, BadAttribute, "not a permutation"),
        ("as_boxes", ("f32[N A 4]",), {"format": "xyxy", "frame": "nett"}, UnknownName, "unknown frame 'nett'"),
    ],
)
def test_refused_types(
    name: str, operands: tuple[str, ...], attributes: dict[str, Any], error: type[GdError], part: str
) -> None:
    with pytest.raises(error) as caught:
        OPS[name].infer_types(types(*operands), attributes)
    assert type(caught.value) is error
    assert part in caught.value.message
    assert caught.value.message.startswith(f"{name}: ")


def test_calls_outside_a_trace_are_refused() -> None:
    with pytest.raises(NoTrace):
        ops.relu(np.zeros(3, np.float32))  # type: ignore[arg-type]


def test_binding_of_operands_and_attributes() -> None:
    with tracing("mine"):
        x = graph_input("x", tensor("f32", N, 4))
        added = ops.add(x, 2)
        assert added.node.inputs[1] is not None
        assert added.node.inputs[1].node.attributes["value"].dtype == np.float32
        assert (np.ones(4, np.float32) + x).type == x.type  # type: ignore[operator]
        assert ops.upsample(graph_input("y", tensor("f32", N, 3, H, H))).node.attributes == {"scale": 2}
        named = ops.nms(
            boxes=graph_input("boxes", boxes("net", N, A, 4)),
            scores=ops.sigmoid(graph_input("s", tensor("f32", N, A))),
            labels=graph_input("l", tensor("i64", N, A)),
            score_threshold=setting("t", 0.5),
            iou_threshold=0.5,
        )
        assert named[0].node.name == "nms"
        for wrong, part in (
            (lambda: ops.relu(x, x), "takes 1 operands, 2 were given"),  # type: ignore[call-arg]
            (lambda: ops.relu(x, x=x), "operand 'x' is given twice"),  # type: ignore[call-arg]
            (lambda: ops.relu(), "'x' is missing"),  # type: ignore[call-arg]
            (lambda: ops.relu("x"), "'x' is a str"),  # type: ignore[arg-type]
            (lambda: ops.concat(x, x), "attribute 'axis' must be given"),  # type: ignore[call-arg]
            (lambda: ops.upsample(x, scale={}), "attribute 'scale' is a dict"),  # type: ignore[arg-type]
            (lambda: x[None], "None in [...]"),  # type: ignore[index]
            (lambda: x[x], "a Value in [...]"),  # type: ignore[index]
            (lambda: list(x), "not a sequence"),
        ):
            with pytest.raises(BadAttribute) as caught:
                wrong()
            assert part in caught.value.message
            assert "test_op.py" in caught.value.where


def test_attributes_are_kept_in_plain_form() -> None:
    assert check_attribute("f", "a", [1, np.int64(2), (3.0, None)]) == (1, 2, (3.0, None))
    assert type(check_attribute("f", "a", np.float32(0.5))) is float
    with pytest.raises(BadAttribute, match="'a' is a set"):
        check_attribute("f", "a", {1})


def test_rules_are_returned_unchanged(scratch: None) -> None:
    @op("f[*S] -> f[*S]")
    def novel(x: Any) -> Any:
        """Nothing."""

    def rule(x: Any) -> Any:
        return x

    for register in (novel.reference, novel.flops, novel.torch, novel.onnx, novel.decompose, novel.examples):
        assert register(rule) is rule
    novel.native("kernel", activation="sigmoid")
    novel.no("onnx", "for a reason")
    assert (novel.native_name, novel.native_fixed, novel.absences) == (
        "kernel",
        {"activation": "sigmoid"},
        {"onnx": "for a reason"},
    )
    assert repr(novel) == "<op novel: f[*S] -> f[*S]>"
