"""The typed graph: values, nodes, graphs. Single assignment, immutable once traced.

A graph is a tuple of nodes in execution order plus named outputs. Inputs, parameters and constants are nodes too (ops
`input`, `param`, `const`), so that every pass and backend sees one kind of thing.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphdet.errors import BadAttribute, BadGraph
from graphdet.ir.dims import Dim, Symbol, product
from graphdet.ir.source import Places, here, render
from graphdet.ir.types import Type

if TYPE_CHECKING:
    from graphdet.ir.op import Op

Attribute = Any  # int, float, bool, str, None, Dim, ndarray, or a tuple of these; checked by `op.check_attribute`
Number = int | float


class Value:
    """One typed result of a node. Python's operators on values declare the ops of `graphdet.ops`."""

    __slots__ = ("index", "node", "type")

    def __init__(self, type: Type, node: Node, index: int) -> None:
        self.type, self.node, self.index = type, node, index

    def dim(self, axis: int) -> Dim:
        """The symbolic size along an axis; negative axes count from the end."""
        return self.type.dims[axis]

    @property
    def shape(self) -> tuple[Dim, ...]:
        """All symbolic sizes."""
        return self.type.dims

    @property
    def stride(self) -> int:
        """How many input pixels one step along the last axis spans (8 for `W/8`).

        Raises BadGraph for a non-spatial value.
        """
        return _stride(self.type.dims[-1])

    def __repr__(self) -> str:
        return f"<{self.node.op.name} -> {self.type}>"

    def __add__(self, other: Operand) -> Value:
        return _call("add", self, other)

    def __radd__(self, other: Number) -> Value:
        return _call("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return _call("sub", self, other)

    def __rsub__(self, other: Number) -> Value:
        return _call("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return _call("mul", self, other)

    def __rmul__(self, other: Number) -> Value:
        return _call("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return _call("div", self, other)

    def __rtruediv__(self, other: Number) -> Value:
        return _call("div", other, self)

    def __neg__(self) -> Value:
        return _call("mul", self, -1.0)

    def __gt__(self, other: Operand) -> Value:
        return _call("greater", self, other)

    def __lt__(self, other: Operand) -> Value:
        return _call("less", self, other)

    def __and__(self, other: Value) -> Value:
        return _call("logical_and", self, other)

    def __or__(self, other: Value) -> Value:
        return _call("logical_or", self, other)

    def __invert__(self) -> Value:
        return _call("logical_not", self)

    def __getitem__(self, key: Index | tuple[Index, ...]) -> Value:
        return _call("index", self, key=_index_key(key))

    __array_ufunc__ = None  # `array + value` asks the value, instead of adding it to each number of the array

    def __iter__(self) -> Iterator[Value]:
        raise BadAttribute(f"a value is not a sequence: {self.type}", where=render(here()), help="index it: x[:, 0]")


Operand = Value | int | float
Index = int | slice | EllipsisType


def _index_key(key: Index | tuple[Index, ...]) -> tuple[Attribute, ...]:
    """NumPy's index as attributes: an int, the string '...', or a (start, stop, step) tuple per item."""
    items = key if isinstance(key, tuple) else (key,)
    for item in items:
        if not isinstance(item, (int, slice, EllipsisType)) or isinstance(item, bool):
            shown = "None" if item is None else f"a {type(item).__name__}"
            way = (
                "reshape(x, shape=(*x.shape, 1)) adds an axis"
                if item is None
                else "gather_rows(x, index) takes rows by value"
            )
            raise BadAttribute(
                f"index: {shown} in [...]; integers, slices and ... are taken", where=render(here()), help=way
            )
    return tuple(
        "..." if item is Ellipsis else (item.start, item.stop, item.step) if isinstance(item, slice) else item
        for item in items
    )


def _call(name: str, *operands: Operand, **attributes: Attribute) -> Value:
    from graphdet.ir.op import OPS  # the table is filled by graphdet.ops, which imports this module

    result: Value = OPS[name](*operands, **attributes)
    return result


def _stride(dim: Dim) -> int:
    """Slope of a spatial dim against the one size it depends on."""
    symbols = dim.symbols
    if len(symbols) != 1:
        raise BadGraph(f"a dim {dim} has no stride: it depends on {len(symbols)} sizes")
    large = 1 << 24
    return round(large / dim.evaluate({next(iter(symbols)).name: large}))


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an op.

    `scope` is the path of the enclosing `scope(...)` names, `places` where it was declared.
    """

    op: Op[..., Any]
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Attribute]
    places: Places = ()
    scope: str = ""
    outputs: tuple[Value, ...] = field(init=False, default=())

    @classmethod
    def make(
        cls,
        op: Op[..., Any],
        inputs: tuple[Value | None, ...],
        attributes: Mapping[str, Attribute],
        types: tuple[Type, ...],
        places: Places = (),
        scope: str = "",
    ) -> Node:
        """A node together with its output values."""
        node = cls(op, inputs, attributes, places, scope)
        object.__setattr__(node, "outputs", tuple(Value(t, node, i) for i, t in enumerate(types)))
        return node

    @property
    def name(self) -> str:
        """The op's name."""
        return self.op.name

    @property
    def place(self) -> str:
        """`file:line` of the declaration, or the empty string."""
        return str(self.places[0]) if self.places else ""


@dataclass(frozen=True, eq=False)
class Graph:
    """A traced detector in one phase.

    `taps` are named intermediate values (`backbone.0`), kept for inspection and parity.
    """

    name: str
    phase: str
    nodes: tuple[Node, ...]
    outputs: Mapping[str, Value]
    taps: Mapping[str, Value] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def leaves(self, kind: str) -> dict[str, Value]:
        """Inputs or parameters by name; `kind` is `input` or `param`."""
        return {n.attributes["name"]: n.outputs[0] for n in self.nodes if n.name == kind}

    @cached_property
    def inputs(self) -> dict[str, Value]:
        """Graph inputs by name, in declaration order."""
        return self.leaves("input")

    @cached_property
    def params(self) -> dict[str, Value]:
        """Parameters and buffers by full name, in declaration order."""
        return self.leaves("param")

    @cached_property
    def symbols(self) -> dict[str, Symbol]:
        """Named sizes: those of inputs, and those that ops make."""
        found = {s.name: s for n in self.nodes for v in n.outputs for d in v.type.dims for s in d.symbols}
        return dict(sorted(found.items()))

    @property
    def bounds(self) -> dict[str, int]:
        """What the named sizes never exceed, where that is known."""
        return {s.name: s.bound for s in self.symbols.values() if s.bound}

    @cached_property
    def uses(self) -> dict[Value, list[tuple[Node, int]]]:
        """Where each value is consumed: (node, operand index)."""
        found: dict[Value, list[tuple[Node, int]]] = {v: [] for n in self.nodes for v in n.outputs}
        for node in self.nodes:
            for i, value in enumerate(node.inputs):
                if value is not None:
                    found[value].append((node, i))
        return found

    @cached_property
    def hash(self) -> str:
        """A structural hash: equal for graphs that compute the same from the same parameters, wherever declared."""
        digests = node_hashes(self)
        whole = hashlib.sha256()
        for name, value in sorted(self.outputs.items()):
            whole.update(f"{name}={digests[value.node]}.{value.index};".encode())
        return whole.hexdigest()

    def bytes_of_params(self) -> int:
        """Memory of all parameters in bytes."""
        return sum(4 * product(v.shape).evaluate({}) for v in self.params.values())


def node_hashes(graph: Graph) -> dict[Node, str]:
    """A digest per node of its op, attributes and (recursively) operands."""
    digests: dict[Node, str] = {}
    for node in graph.nodes:
        digest = hashlib.sha256(node.name.encode())
        for key, attribute in sorted(node.attributes.items()):
            digest.update(f"{key}={attribute_text(attribute)};".encode())
        for value in node.inputs:
            digest.update(b"_" if value is None else f"{digests[value.node]}.{value.index},".encode())
        digests[node] = digest.hexdigest()[:32]
    return digests


def attribute_text(attribute: Attribute) -> str:
    """A stable text of an attribute; arrays are represented by their content hash."""
    if isinstance(attribute, np.ndarray):
        return f"array({attribute.dtype.name}{list(attribute.shape)} {array_hash(attribute)})"
    if isinstance(attribute, tuple):
        return f"({' '.join(map(attribute_text, attribute))})"
    return str(attribute) if isinstance(attribute, Dim) else repr(attribute)


_hashes: dict[int, tuple[weakref.ref[NDArray[Any]], str]] = {}


def array_hash(array: NDArray[Any]) -> str:
    """The content hash under which a constant is stored.

    Constants are never written to, so that each is hashed once.
    """
    key = id(array)

    def forget(_: object) -> None:
        _hashes.pop(key, None)

    known = _hashes.get(key)
    if known is None or known[0]() is not array:
        digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]
        known = _hashes[key] = (weakref.ref(array, forget), digest)
    return known[1]
