"""Every op with each of its examples: what the registry tests are parametrised over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import graphdet.ops
from graphdet.compiler.backends.numpy.execute import op_graph
from graphdet.ir.dims import Dim, parse_dim
from graphdet.ir.graph import Graph, Value
from graphdet.ir.op import OPS, Op
from graphdet.ir.signature import Slot
from graphdet.ir.trace import graph_input, tracing
from graphdet.ir.types import Type
from graphdet.records import Array

assert graphdet.ops  # importing it fills the table
LEAVES = ("input", "param", "const")
DECLARED = [op for op in OPS.values() if op.name not in LEAVES]
FREE_DIMS = ("N", "H", "W", "A", "K", "G", "Q")  # dims of signatures that may be unknown until run time


@dataclass(frozen=True)
class Case:
    """One example of an op, with arrays for all its operands (None: absent)."""

    op: Op[..., Any]
    number: int
    operands: tuple[Array | None, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.op.name}-{self.number}"

    def copies(self) -> list[Array | None]:
        """Fresh operands: some rules write to theirs."""
        return [None if x is None else x.copy() for x in self.operands]

    def reference(self) -> tuple[Array, ...]:
        """The meaning of the op on these operands."""
        with np.errstate(all="ignore"):
            return as_tuple(self.op.rules["reference"](*self.copies(), **self.all_attributes))

    @property
    def all_attributes(self) -> dict[str, Any]:
        """Attributes, defaults included."""
        return {**self.op.defaults, **self.attributes}

    def graph(self) -> tuple[Graph, dict[str, Array]]:
        """The op alone as a graph over numbers for sizes, and its inputs."""
        return op_graph(self.op, self.operands, self.attributes)

    def dynamic_graph(self) -> tuple[Graph, dict[str, Array]]:
        """The same graph with symbols for all sizes that may be unknown until run time."""
        static, arrays = self.graph()
        names = {k: Dim.of(v) for k, v in self.all_attributes.items() if isinstance(v, int)}
        types = {name: self._free(i, static.inputs[name].type, names) for i, name in self._present()}
        return retrace(self.op, len(self.operands), types, self.attributes), arrays

    def _present(self) -> list[tuple[int, str]]:
        return [(i, f"x{i}") for i, x in enumerate(self.operands) if x is not None]

    def _free(self, i: int, type: Type, names: dict[str, Dim]) -> Type:
        """The type with symbols in it. `names`: what names in the signature stand for, of which this operand adds."""
        slot = self.op.sources[min(i, len(self.op.sources) - 1)]
        patterns = spread(slot, type.rank)
        dims = type.dims
        if "O" not in slot.dims:  # a convolution's weights have known sizes
            dims = tuple(_symbol(p, d, names) for p, d in zip(patterns, dims, strict=True))
        names.update(zip(patterns, dims, strict=True))
        return type.with_dims(dims)


def _symbol(pattern: str, dim: Dim, names: Mapping[str, Dim]) -> Dim:
    """A symbol per size, so that equal sizes stay equal; a size of 1 in a span, or of rows, is kept: it broadcasts.

    A size that the signature computes follows from the symbols.
    """
    if any(c in pattern for c in "+-*/(") and not pattern.startswith("*"):
        return parse_dim(pattern, names.__getitem__)
    free = pattern in FREE_DIMS or (pattern.startswith(("*", "R")) and dim != 1)
    return Dim.symbol(f"D{dim}") if free else dim


def spread(slot: Slot, rank: int) -> list[str]:
    """The pattern of each dim of an operand, with `*S` repeated as often as it stands for dims."""
    patterns: list[str] = []
    for pattern in slot.dims:
        patterns += [pattern] * (rank - len(slot.dims) + 1 if pattern.startswith("*") else 1)
    return patterns


def retrace(op: Op[..., Any], count: int, types: Mapping[str, Type], attributes: Mapping[str, Any]) -> Graph:
    """A graph of one op whose i-th operand is the input `x<i>`, absent where no type is given."""
    with tracing(op.name, "train") as opened:
        values = [graph_input(f"x{i}", types[f"x{i}"]) if f"x{i}" in types else None for i in range(count)]
        results: tuple[Value, ...] = as_tuple(op(*values, **attributes))
    return opened.graph({f"y{i}": v for i, v in enumerate(results)})


def cases(condition: Callable[[Op[..., Any]], bool] = lambda op: True) -> list[Case]:
    """All examples of the ops that meet a condition."""
    return [case for op in DECLARED if condition(op) for case in _examples(op)]


def _examples(op: Op[..., Any]) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    examples = op.rules["examples"](rng) if "examples" in op.rules else ()
    for number, (operands, attributes) in enumerate(examples):
        yield Case(op, number, tuple(_array(x, rng) for x in operands), attributes)


def _array(given: Any, rng: np.random.Generator) -> Array | None:
    """Shapes become normal random numbers; arrays and numbers stay."""
    if given is None:
        return None
    return rng.standard_normal(given).astype(np.float32) if isinstance(given, tuple) else np.asarray(given)


def as_tuple(results: Any) -> tuple[Any, ...]:
    """The results of a rule, however many."""
    return tuple(results) if isinstance(results, (tuple, list)) else (results,)


def assert_same(found: Any, expected: tuple[npt.NDArray[Any], ...], rtol: float = 2e-5, atol: float = 1e-6) -> None:
    """Equal shapes and dtypes; integers and masks equal, floats close."""
    results = as_tuple(found)
    assert len(results) == len(expected)
    for i, (a, b) in enumerate(zip(results, expected, strict=True)):
        assert np.shape(a) == np.shape(b), f"result {i}: shape {np.shape(a)}, expected {np.shape(b)}"
        assert np.asarray(a).dtype == b.dtype, f"result {i}: {np.asarray(a).dtype}, expected {b.dtype}"
        if b.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"result {i}")
        else:
            np.testing.assert_array_equal(a, b, err_msg=f"result {i}")
