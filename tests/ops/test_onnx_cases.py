"""The ops' references against the operator cases of the ONNX standard, as far as our vocabulary can say them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

import numpy as np
import pytest

from graphdet import ops
from graphdet.compiler.backends.numpy.execute import execute, op_graph
from graphdet.errors import GdError
from graphdet.ir.types import dtype_name
from graphdet.records import Array

Pairs = list[tuple[Array, Array]]
Mapper = Callable[[list[Array], dict[str, Any], list[Array]], Pairs]


class Inexpressible(Exception):
    """Why our vocabulary cannot say a case."""


def call(name: str, *operands: Any, **attributes: Any) -> Any:
    """One of our ops on arrays, checked and typed as in a trace."""
    arrays = [np.asarray(x) for x in operands]
    for x in arrays:
        try:
            dtype_name(x.dtype)
        except GdError:
            raise Inexpressible(f"graphs hold no {x.dtype.name}") from None
    graph, inputs = op_graph(getattr(ops, name), arrays, attributes)
    results = tuple(execute(graph, inputs, {}).values())
    return results if len(results) > 1 else results[0]


def refuse(condition: Any, reason: str) -> None:
    if condition:
        raise Inexpressible(reason)


def unary(name: str) -> Mapper:
    return lambda x, a, y: [(call(name, x[0]), y[0])]


def binary(name: str) -> Mapper:
    return lambda x, a, y: [(reduce(lambda p, q: call(name, p, q), x), y[0])]


def divide(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    refuse(x[0].dtype.kind != "f", "our div is of floats")
    return [(call("div", *x), y[0])]


def clip(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    refuse(len(x) < 3, "the case has one bound: the same as maximum or minimum alone")
    return [(call("minimum", call("maximum", x[0], x[1]), x[2]), y[0])]


def cast(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    refuse(a.get("saturate") == 0, "saturation is for 8-bit floats")
    target = {1: "f32", 7: "i64", 9: "b", 11: "f64"}.get(a["to"])
    refuse(target is None, f"no cast to the TensorProto type {a['to']}")
    return [(call("cast", x[0], to=target), y[0])]


def where(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    return [(call("where", *x), y[0])]


def concat(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    return [(call("concat", *x, axis=a["axis"]), y[0])]


def transpose(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    order = a.get("perm", range(x[0].ndim)[::-1])
    return [(call("transpose", x[0], order=tuple(order)), y[0])]


def reshape(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    sizes = x[0].shape
    refuse(0 in sizes, "an empty value's shape is not guessed")
    copied = [sizes[i] if d == 0 and not a.get("allowzero") else int(d) for i, d in enumerate(x[1])]
    return [(call("reshape", x[0], shape=tuple(copied)), y[0])]


def slices(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    starts, stops = x[1], x[2]
    axes = x[3] if len(x) > 3 else np.arange(len(starts))
    steps = x[4] if len(x) > 4 else np.ones(len(starts), np.int64)
    refuse((steps < 0).any(), "our steps are positive")
    key: list[Any] = [(None, None, None)] * x[0].ndim
    for axis, *item in zip(axes, starts, stops, steps, strict=True):
        key[axis] = tuple(map(int, item))
    return [(call("index", x[0], key=tuple(key)), y[0])]


def gather(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    refuse((x[1] < 0).any(), "row indices are not negative")
    rows = np.moveaxis(x[0], a["axis"], 0)
    found = call("gather_rows", rows.reshape(len(rows), -1), x[1].reshape(1, -1))
    found = found.reshape(*x[1].shape, *rows.shape[1:])
    places = tuple(range(x[1].ndim))
    return [(np.moveaxis(found, places, tuple(a["axis"] + i for i in places)), y[0])]


def argmax(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    refuse(a.get("select_last_index"), "of equal entries ours is the first")
    found = call("best_index", np.moveaxis(x[0], a.get("axis", 0), -1))
    return [(found.reshape(y[0].shape), y[0])]


def reduce_max(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    refuse(x[0].size == 0, "the maximum of nothing is not defined")
    axes = [int(i) % x[0].ndim for i in (x[1] if len(x) > 1 else range(x[0].ndim))]
    kept = [i for i in range(x[0].ndim) if i not in axes]
    rows = x[0].transpose(*kept, *axes).reshape(*(x[0].shape[i] for i in kept), -1)
    return [(call("best", rows).reshape(y[0].shape), y[0])]


def reduce_sum(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    refuse(a.get("noop_with_empty_axes"), "no axes mean all of them")
    found = call("total", x[0], axes=tuple(map(int, x[1])))
    return [(found.reshape(y[0].shape), y[0])]


def one_hot(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    labels, (off, on) = x[0].astype(np.int64), x[2].astype(np.float32)
    refuse((labels < 0).any(), "a negative label is no class, and does not count from the end")
    found = call("one_hot", labels, classes=int(x[1])) * (on - off) + off
    return [(np.moveaxis(found, -1, a.get("axis", -1)).astype(y[0].dtype), y[0])]


def resize(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    """Different factors per axis: enlarge by their product, then take every so many rows and columns."""
    refuse(a["mode"] != b"nearest", f"only nearest neighbours, not {a['mode'].decode()}")
    factors = [p / q for p, q in zip(y[0].shape[2:], x[0].shape[2:], strict=True)]
    refuse(any(f != int(f) or f < 1 for f in factors), "only whole factors")
    refuse(a.get("coordinate_transformation_mode", b"half_pixel") not in (b"half_pixel", b"asymmetric"), "other grid")
    refuse(a.get("nearest_mode", b"round_prefer_floor") not in (b"round_prefer_floor", b"floor"), "rounds up")
    high, wide = map(int, factors)
    large = call("upsample", x[0], scale=high * wide)
    return [(call("index", large, key=("...", (None, None, wide), (None, None, high))), y[0])]


def batch_norm(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    eps = a.get("epsilon", 1e-5)
    if a.get("training_mode"):
        return [(call("batch_norm_train", *x, np.asarray(0), eps=eps), y[0])]
    return [(call("batch_norm", *x, eps=eps), y[0])]


def one(numbers: Any, what: str) -> int:
    """The one number that all entries are."""
    refuse(len(set(numbers)) != 1, f"our {what} is the same on all sides")
    return int(numbers[0])


def window(a: dict[str, Any], dims: int) -> tuple[int, int]:
    """Stride and padding."""
    refuse(dims != 2, "ours is 2-D")
    refuse("auto_pad" in a, "padding is written in numbers")
    return one(a.get("strides", [1]), "stride"), one(a.get("pads", [0]), "padding")


def conv(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    stride, padding = window(a, len(a["kernel_shape"]))
    return [(call("conv2d", *x, stride=stride, padding=padding), y[0])]


def deform_conv(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    stride, padding = window(a, len(a["kernel_shape"]))
    groups = {"groups": a.get("group", 1), "offset_groups": a.get("offset_group", 1)}
    mask = x[4] if len(x) > 4 else np.ones_like(x[2][:, ::2])
    bias = x[3] if len(x) > 3 and x[3].size else np.zeros(len(x[1]), np.float32)
    found = call("deform_conv2d", *x[:3], mask, bias, stride=stride, padding=padding, **groups)
    return [(found, y[0])]


def max_pool(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    stride, padding = window(a, len(a["kernel_shape"]))
    size = one(a["kernel_shape"], "window")
    refuse(a.get("ceil_mode") or "dilations" in a, "no dilation, and windows lie inside the padded map")
    refuse(2 * padding > size, "padding is at most half of the window")
    refuse(x[0].dtype.kind != "f", "ours is of floats")
    return [(call("max_pool", x[0], size=size, stride=stride, padding=padding), y[0])]


def top_k(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    """Shifted by one, as scores must exceed a threshold of at least 0."""
    refuse(a.get("largest") == 0, "ours selects the largest")
    scores = np.atleast_2d(x[0]).astype(np.float32)[..., None] + 1
    best, _, rows = call("select_top", scores, np.float32(0), k=int(x[1][0]))
    return [((best - 1).reshape(y[0].shape).astype(y[0].dtype), y[0]), (rows.reshape(y[1].shape), y[1])]


def nms(x: list[Array], a: dict[str, Any], y: list[Array]) -> Pairs:
    """Class by class; the standard gives rows (image, class, box), ours the boxes: boxes and scores are compared."""
    boxes, scores, (keep,), (iou,), (least,) = x
    if a.get("center_point_box"):
        boxes = np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    refuse((boxes[..., 2:] < boxes[..., :2]).any(), "boxes with swapped corners have no area")
    pairs: Pairs = []
    for i, c in np.ndindex(scores.shape[:2]):
        rows = y[0][(y[0][:, 0] == i) & (y[0][:, 1] == c), 2]
        labels = np.full((1, scores.shape[2]), c)
        found, best, names, count = call(
            "nms", boxes[i : i + 1], scores[i, c][None], labels, least, iou, keep=int(keep)
        )
        real = count[0]
        pairs += [(np.asarray(real), np.asarray(len(rows))), (found[0, :real], boxes[i, rows])]
        pairs += [(best[0, :real], scores[i, c, rows]), (names[0, :real], np.full(len(rows), c))]
    return pairs


# ONNX operator: (how it is said with our ops, how many of its cases can be said).
TABLE: dict[str, tuple[Mapper, int]] = {
    "Abs": (unary("absolute"), 1),
    "Add": (binary("add"), 2),
    "ArgMax": (argmax, 8),
    "BatchNormalization": (batch_norm, 4),
    "Cast": (cast, 1),
    "Clip": (clip, 6),
    "Concat": (concat, 12),
    "Conv": (conv, 4),
    "DeformConv": (deform_conv, 4),
    "Div": (divide, 2),
    "Exp": (unary("exp"), 2),
    "Gather": (gather, 3),
    "Greater": (binary("greater"), 2),
    "Less": (binary("less"), 2),
    "Max": (binary("maximum"), 9),
    "MaxPool": (max_pool, 6),
    "Min": (binary("minimum"), 9),
    "Mul": (binary("mul"), 3),
    "NonMaxSuppression": (nms, 9),
    "OneHot": (one_hot, 4),
    "ReduceMax": (reduce_max, 9),
    "ReduceSum": (reduce_sum, 10),
    "Relu": (unary("relu"), 1),
    "Reshape": (reshape, 9),
    "Resize": (resize, 3),
    "Sigmoid": (unary("sigmoid"), 2),
    "Slice": (slices, 7),
    "Sub": (binary("sub"), 3),
    "Swish": (unary("silu"), 1),
    "TopK": (top_k, 6),
    "Transpose": (transpose, 7),
    "Where": (where, 2),
}


@cache
def standard_cases() -> dict[str, list[Any]]:
    """Cases of one operator each, by that operator. The package generates them at the first call alone."""
    case_module = pytest.importorskip("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, list[Any]] = {}
        for case in case_module.collect_testcases():
            if len(case.model.graph.node) == 1:
                found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def to_array(given: Any) -> Array:
    """Some cases keep a TensorProto."""
    if hasattr(given, "raw_data"):
        given = pytest.importorskip("onnx.numpy_helper").to_array(given)
    return np.asarray(given)


@pytest.mark.parametrize("operator", TABLE)
def test_standard_cases(operator: str) -> None:
    helper = pytest.importorskip("onnx.helper")
    mapper, least = TABLE[operator]
    said: list[str] = []
    left: dict[str, str] = {}
    for case in standard_cases()[operator]:
        inputs, outputs = case.data_sets[0]
        attributes = {a.name: helper.get_attribute_value(a) for a in case.model.graph.node[0].attribute}
        try:
            pairs = mapper([to_array(x) for x in inputs], attributes, [to_array(y) for y in outputs])
        except Inexpressible as reason:
            left[case.name] = str(reason)
            continue
        for found, expected in pairs:
            assert found.shape == expected.shape, case.name
            assert found.dtype == expected.dtype, case.name
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=case.name)
        said.append(case.name)
    assert len(said) >= least, f"{len(said)} cases were said; left out: {left}"
