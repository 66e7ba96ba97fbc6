"""Top-k and NMS at the edges: nothing to select, boxes without area, NaN and infinite numbers, equal scores."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from graphdet.ir.op import OPS
from graphdet.records import Array
from tests.ops.cases import Case, as_tuple, assert_same
from tests.ops.test_every_op import run_onnx

F = np.float32


def some_boxes(rng: np.random.Generator, *shape: int, least: float = -3) -> Array:
    """Boxes of which a few have a negative extent."""
    corner = rng.uniform(0, 60, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(least, 30, (*shape, 2))], -1).astype(F)


def nms_cases() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    rng = np.random.default_rng(0)
    for (n, k), agnostic, keep in product([(0, 5), (2, 0), (0, 0), (1, 1), (2, 60)], [False, True], [0, 1, 100]):
        attributes = {"keep": keep, "agnostic": agnostic}
        scores, labels = rng.random((n, k), dtype=F), rng.integers(0, 3, (n, k))
        yield f"{n}x{k}", (some_boxes(rng, n, k), scores, labels, F(0.1), F(0.4)), attributes
    labels, scores = rng.integers(0, 3, (1, 12)), rng.random((1, 12), dtype=F)
    for number in (np.nan, np.inf, -np.inf):
        spoilt, odd = some_boxes(rng, 1, 12), scores.copy()
        spoilt[0, 2], odd[0, 5] = number, number
        yield f"box of {number}", (spoilt, scores, labels, F(0.1), F(0.4)), {}
        yield f"score of {number}", (some_boxes(rng, 1, 12), odd, labels, F(0.1), F(0.4)), {}
    nested = np.asarray([[[0, 0, 10, 10], [9, 9, 1, 1], [9, 1, 1, 9], [2, 2, 2, 8]]], F)
    for threshold in (0.0, 0.3, 1.0):
        operands = (nested, np.asarray([[0.9, 0.8, 0.7, 0.6]], F), np.zeros((1, 4), np.int64), F(0.1), F(threshold))
        yield f"swapped corners, {threshold}", operands, {"agnostic": True}
    rounded = np.round(rng.random((2, 60)), 1).astype(F)
    yield "equal scores", (some_boxes(rng, 2, 60), rounded, rng.integers(0, 3, (2, 60)), F(0.1), F(0.4)), {}
    large = (some_boxes(rng, 1, 60) * F(30), rng.random((1, 60), dtype=F), rng.integers(0, 80, (1, 60)), F(0.1), F(0.5))
    yield "large image, many classes", large, {}


def top_cases() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    rng = np.random.default_rng(0)
    for shape, k in product([(0, 3, 2), (2, 0, 3), (1, 1, 1), (2, 50, 4)], [1, 7, 1000]):
        yield f"{shape}, {k}", (rng.random(shape, dtype=F), F(0.3)), {"k": k}
    for numbers, threshold in [([0.3, 0.5, 0.0], 0.3), ([0, 0, 0.5], 0.0), ([np.inf, np.nan, 1.0], 0.0)]:
        yield f"{numbers} above {threshold}", (np.asarray([[numbers]], F), F(threshold)), {"k": 4}
    yield "equal scores", (np.round(rng.random((2, 60, 5)), 1).astype(F), F(0.2)), {"k": 30}


def edge(name: str, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Case:
    return Case(OPS[name], 0, tuple(np.asarray(x) for x in operands), attributes)


EDGES = [pytest.param(edge("nms", x, a), id=f"nms, {what}") for what, x, a in nms_cases()]
EDGES += [pytest.param(edge("select_top", x, a), id=f"select_top, {what}") for what, x, a in top_cases()]


@pytest.mark.parametrize("case", EDGES)
@pytest.mark.parametrize("rule", ["torch", "native", "onnx", "onnx dynamic"])
def test_edges(case: Case, rule: str) -> None:
    if rule == "torch":
        torch = pytest.importorskip("torch")
        operands = [torch.from_numpy(x) for x in case.copies()]
        found = [x.numpy() for x in as_tuple(case.op.rules["torch"](torch, *operands, **case.all_attributes))]
    elif rule == "native":
        kernel = getattr(pytest.importorskip("graphdet.runtime._C"), case.op.native_name)
        found = kernel(*case.copies(), **case.all_attributes, **case.op.native_fixed)
    else:
        found = run_onnx(*(case.graph() if rule == "onnx" else case.dynamic_graph()))
    assert_same(found, case.reference())
