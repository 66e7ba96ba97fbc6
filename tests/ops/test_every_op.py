"""Each declared op: its rules say the same on its examples, and its signature refuses what does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphdet.compiler.backends.numpy.execute import execute
from graphdet.compiler.backends.onnx.emit import emit, to_bytes
from graphdet.compiler.backends.target import find_target
from graphdet.compiler.passes.legalize import expand
from graphdet.errors import GdError
from graphdet.ir.check import verify
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Graph
from graphdet.ir.op import NATIVE, TRAIN, Op
from graphdet.ir.types import FLOATS, Type, numpy_dtype
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment
from tests.ops.cases import DECLARED, Case, as_tuple, assert_same, cases, retrace

NO_SYMBOLS = dict.fromkeys(("expand", "reshape", "resize"), "its example writes its shape in numbers")
NO_GRADIENT = {
    "cast": "the examples cast integers",
    "mask_bounds": "cells are counted",
    "map_size": "the level's numbers are not read",
    "mean_over_processes": "losses are divided by it",
    "one_hot": "labels have no gradient",
    "point_grid": "the level's numbers are not read",
    "stop_gradient": "that is what it is for",
}


def has(rule: str) -> Any:
    return lambda op: rule in op.rules


@pytest.mark.parametrize("op", DECLARED, ids=lambda op: op.name)
def test_declaration_is_complete(op: Op[..., Any]) -> None:
    assert op.doc.endswith("."), "the docstring is the op's documentation"
    assert "reference" in op.rules
    assert list(op.rules["examples"](np.random.default_rng(0)))
    reachable = "onnx" in op.rules or "decompose" in op.rules or op.native_name or "onnx" in op.absences
    assert reachable or TRAIN in op.traits
    assert "torch" in op.rules or "decompose" in op.rules


@pytest.mark.parametrize("case", cases(), ids=str)
def test_reference_has_the_declared_type(case: Case) -> None:
    graph, arrays = case.graph()
    verify(graph)
    results = case.reference()
    assert_same(tuple(execute(graph, arrays, {}).values()), results)
    sizes = [
        p for v, x in zip(graph.outputs.values(), results, strict=True) for p in zip(v.shape, x.shape, strict=True)
    ]
    made = {dim.symbol_alone.name: size for dim, size in sizes if dim.symbol_alone}  # of data
    for value, array in zip(graph.outputs.values(), results, strict=True):
        assert array.shape == tuple(d.evaluate(made) for d in value.shape)
        assert array.dtype == numpy_dtype(value.type.dtype)


@pytest.mark.parametrize("case", cases(has("torch")), ids=str)
def test_torch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    operands = [None if x is None else torch.from_numpy(np.asarray(x)) for x in case.copies()]
    results = as_tuple(case.op.rules["torch"](torch, *operands, **case.all_attributes))
    assert_same([r.numpy() for r in results], case.reference())


def run_onnx(graph: Graph, arrays: dict[str, Array]) -> list[Array]:
    return open_segment("onnxruntime", to_bytes(emit(graph, {})), threads=1).run(arrays)


@pytest.mark.parametrize("case", cases(has("onnx")), ids=str)
def test_onnx(case: Case) -> None:
    assert_same(run_onnx(*case.graph()), case.reference())


@pytest.mark.parametrize("case", cases(lambda op: "onnx" in op.rules and op.name not in NO_SYMBOLS), ids=str)
def test_onnx_with_sizes_known_at_run_time(case: Case) -> None:
    graph, arrays = case.dynamic_graph()
    assert graph.symbols or not any(x is not None and x.ndim for x in case.operands)
    assert_same(run_onnx(graph, arrays), case.reference())


@pytest.mark.parametrize("case", cases(lambda op: "onnx" in op.rules and find_target("openvino").dense(op)), ids=str)
def test_onnx_in_openvino(case: Case) -> None:
    graph, arrays = case.dynamic_graph() if case.op.name not in NO_SYMBOLS else case.graph()
    segment = open_segment("openvino", to_bytes(emit(graph, {})), threads=1)
    assert_same(segment.run(arrays), case.reference())


@pytest.mark.parametrize("case", cases(has("decompose")), ids=str)
def test_decomposition(case: Case) -> None:
    graph, arrays = case.graph()
    expanded = expand(graph, lambda op: op.name != case.op.name)
    verify(expanded)
    assert case.op not in {n.op for n in expanded}
    assert_same(tuple(execute(expanded, arrays, {}).values()), case.reference())


@pytest.mark.parametrize("case", cases(lambda op: bool(op.native_name)), ids=str)
def test_native(case: Case) -> None:
    kernels = pytest.importorskip("graphdet.runtime._C")
    kernel = getattr(kernels, case.op.native_name)
    assert_same(kernel(*case.copies(), **case.all_attributes, **case.op.native_fixed), case.reference())


def differentiable(op: Op[..., Any]) -> bool:
    if "torch" not in op.rules or NATIVE in op.traits or op.name in NO_GRADIENT:
        return False
    return any(slot.kind not in ("i64", "b", "labels") for slot in op.results)


def gradient_cases() -> list[Case]:
    found = []
    for case in cases(differentiable):
        graph, arrays = case.graph()
        floats = graph.outputs["y0"].type.dtype in FLOATS and all(x.size for x in arrays.values())
        if floats and not case.op.name.startswith("match_"):
            found.append(case)
    return found


@pytest.mark.parametrize("case", gradient_cases(), ids=str)
def test_gradient(case: Case) -> None:
    """Autograd against central differences in float64. Operands are moved a little: kinks have no gradient."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    fixed: list[Any] = []
    free: dict[int, Any] = {}
    buffers = ("mean", "var") if case.op.name.startswith("batch_norm") else ()
    for i, x in enumerate(case.operands):
        name = case.op.operands[min(i, len(case.op.operands) - 1)]
        fixed.append(None if x is None else torch.from_numpy(np.asarray(x)))
        if x is not None and x.dtype.kind == "f":
            moved = np.clip(x, -20, 20).astype(np.float64) if case.op.name in ("exp", "bce", "silu", "square") else x
            fixed[i] = torch.from_numpy(np.asarray(moved + rng.uniform(0.01, 0.02, x.shape)))
            if name not in buffers:
                free[i] = fixed[i].requires_grad_()

    def run(*given: Any) -> Any:
        operands = [x.clone() if x is not None else None for x in fixed]
        for i, x in zip(free, given, strict=True):
            operands[i] = x
        return as_tuple(case.op.rules["torch"](torch, *operands, **case.all_attributes))[0]

    assert torch.autograd.gradcheck(run, tuple(free.values()), eps=1e-6, rtol=1e-4, atol=1e-5)


def wrong_types(case: Case) -> list[tuple[str, dict[str, Type]]]:
    """Operand types of the case, with one operand's rank or dtype spoilt each time."""
    graph, _ = case.graph()
    types = {k: v.type for k, v in graph.inputs.items()}
    found = []
    for name, type in types.items():
        slot = case.op.sources[min(int(name[1:]), len(case.op.sources) - 1)]
        starred = any(d.startswith("*") for d in slot.dims)
        if not starred:
            found.append((f"rank of {name}", {**types, name: type.with_dims((Dim.of(1), *type.dims))}))
        elif len(slot.dims) > 1:
            found.append((f"rank of {name}", {**types, name: type.with_dims(())}))
        if slot.kind not in ("T", "U"):
            other = "i64" if type.dtype in FLOATS else "f32"
            found.append((f"dtype of {name}", {**types, name: replace(type, dtype=other)}))
    return found


def refuse(what: str, case: Case, types: dict[str, Type]) -> None:
    retrace(case.op, len(case.operands), types, case.attributes)
    pytest.fail(f"a wrong {what} was taken")


@pytest.mark.parametrize("case", [c for c in cases() if c.number == 0], ids=str)
def test_signature_refuses(case: Case) -> None:
    for what, types in wrong_types(case):
        with pytest.raises(GdError, match=case.op.name):
            refuse(what, case, types)
    graph, _ = case.graph()
    types = {k: v.type for k, v in graph.inputs.items()}
    with pytest.raises(GdError, match="unknown attribute"):
        retrace(case.op, len(case.operands), types, {**case.attributes, "no_such_attribute": 1})


def selections() -> list[Case]:
    """Examples of the selecting ops with NaN, infinite and equal scores among the scores."""
    found = []
    kinds = ("scores", "logits")
    for case in cases(lambda op: NATIVE in op.traits and any(slot.kind in kinds for slot in op.sources)):
        which = [slot.kind in kinds for slot in case.op.sources].index(True)
        scores = case.copies()[which]
        assert scores is not None
        flat = scores.reshape(-1)
        flat[::3] = np.nan
        flat[1::5] = 0.75
        operands = list(case.operands)
        operands[which] = scores
        found.append(replace(case, operands=tuple(operands)))
    return found


@pytest.mark.parametrize("case", selections(), ids=str)
@pytest.mark.parametrize("rule", ["torch", "native"])
def test_selection_with_nan_and_equal_scores(case: Case, rule: str) -> None:
    expected = case.reference()
    assert not any(np.isnan(x).any() for x in expected)
    if rule == "native":
        kernels = pytest.importorskip("graphdet.runtime._C")
        kernel = getattr(kernels, case.op.native_name)
        found = kernel(*case.copies(), **case.all_attributes, **case.op.native_fixed)
    else:
        torch = pytest.importorskip("torch")
        if "torch" not in case.op.rules:
            pytest.skip("the op is decomposed before it reaches torch")
        operands = [None if x is None else torch.from_numpy(np.asarray(x)) for x in case.copies()]
        found = [x.numpy() for x in case.op.rules["torch"](torch, *operands, **case.all_attributes)]
    assert_same(found, expected)


@pytest.mark.parametrize("case", [c for c in selections() if "onnx" in c.op.rules], ids=str)
def test_selection_in_onnx_with_nan_and_equal_scores(case: Case) -> None:
    """The standard leaves the order of equal scores in NonMaxSuppression open: scores are compared there, not rows."""
    graph, arrays = case.graph()
    found, expected = run_onnx(graph, arrays), case.reference()
    if case.op.name == "nms":
        found, expected = found[1:], expected[1:]
    assert_same(found, expected)
