"""The open trace: where ops called in a detector function become nodes, and where parameters get their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from graphdet.errors import BadAttribute, DuplicateParameter, NoTrace, UnknownName
from graphdet.ir.dims import Dim, DimLike
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import OPS, op
from graphdet.ir.source import Places, here, render
from graphdet.ir.types import FLOATS, INTEGERS, Type, dtype_name, known, numpy_dtype, parse_type, tensor

T = TypeVar("T")
Nest = Value | Iterable["Nest"]
PHASES = ("train", "infer")

_current: ContextVar[Trace | None] = ContextVar("graphdet_trace", default=None)


@op("-> T[]")
def input(*, name: str, type: str, default: float | None = None) -> Value:
    """A graph input. `default` makes a scalar a run-time setting that callers may leave out."""
    raise NoTrace("inputs are declared by graph_input")


@op("-> T[]")
def param(*, name: str, type: str, init: str, value: float, trainable: bool, buffer: bool) -> Value:
    """A parameter or buffer by its full name."""
    raise NoTrace("parameters are declared by parameter")


@op("-> T[]")
def const(*, value: NDArray[Any]) -> Value:
    """A constant array."""
    raise NoTrace("constants are declared by constant")


class Trace:
    """Nodes declared so far, the current phase and the current scope."""

    def __init__(self, name: str, phase: str) -> None:
        try:
            self.name, self.phase = name, known("phase", phase, PHASES)
        except UnknownName as error:
            error.where = render(here())
            raise
        self.nodes: list[Node] = []
        self.scopes: list[str] = []
        self.params: dict[str, Value] = {}
        self.shared: list[set[str]] = []
        self.taps: dict[str, Value] = {}
        self.inputs: dict[str, Value] = {}
        self.train_only: set[Value] = set()
        self.phase_nodes: set[Node] = set()
        self.in_phase = 0

    @property
    def path(self) -> str:
        """The names of the open scopes, joined by dots."""
        return ".".join(self.scopes)

    def add(self, node: Node) -> Value | tuple[Value, ...]:
        """Append a node; returns its result, or the tuple of its results."""
        self.nodes.append(node)
        if self.in_phase:
            self.phase_nodes.add(node)
        return node.outputs[0] if len(node.outputs) == 1 else node.outputs

    def leaf(self, name: str, type: Type, attributes: dict[str, Any], places: Places) -> Value:
        """Append an input, parameter or constant."""
        node = Node.make(OPS[name], (), attributes, (type,), places, self.path)
        self.nodes.append(node)
        return node.outputs[0]

    def graph(self, outputs: dict[str, Value]) -> Graph:
        """The graph traced so far, with the given results."""
        return Graph(self.name, self.phase, tuple(self.nodes), outputs, dict(self.taps))


def current() -> Trace:
    """The open trace. Raises NoTrace outside of one."""
    trace = _current.get()
    if trace is None:
        raise NoTrace(
            "ops declare a graph and need an open trace",
            where=render(here()),
            help="call them inside a @detector function, or under `with tracing('name', 'infer')`",
        )
    return trace


@contextmanager
def tracing(name: str, phase: str = "infer") -> Iterator[Trace]:
    """Open a trace; ops called inside are recorded in it."""
    trace = Trace(name, phase)
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def lift(value: Any, position: int, dtype: str = "f32") -> Value | None:
    """An operand as a Value: arrays become constants, and so do numbers, of the dtype where it can hold them, else f32.

    Raises BadAttribute about its position for anything else.
    """
    if value is None or isinstance(value, Value):
        return value
    if isinstance(value, (bool, int, float)):
        return constant(np.asarray(value, numpy_dtype(dtype if _holds(dtype, value) else "f32")))
    if isinstance(value, np.ndarray):
        return constant(value)
    several = isinstance(value, (list, tuple))
    raise BadAttribute(
        f"is a {type(value).__name__}, expected a Value or a number",
        help="call the op once for each item" if several else "",
        about=position,
    )


def _holds(dtype: str, number: float) -> bool:
    if dtype not in INTEGERS:
        return dtype in FLOATS
    limits = np.iinfo(numpy_dtype(dtype).name)
    return float(number).is_integer() and limits.min <= number <= limits.max


def constant(array: NDArray[Any]) -> Value:
    """A constant value."""
    array = np.asarray(array, order="C")
    return current().leaf("const", tensor(dtype_name(array.dtype), *array.shape), {"value": array}, here())


def graph_input(name: str, type: Type, *, default: float | None = None, places: Places | None = None) -> Value:
    """Declare a graph input, or find the one of this name. places: where, if not at the caller's line."""
    trace = current()
    if name not in trace.inputs:
        attributes = {"name": name, "type": str(type), "default": default}
        trace.inputs[name] = trace.leaf("input", type, attributes, here() if places is None else places)
    return trace.inputs[name]


def setting(name: str, default: float) -> Value:
    """A run-time scalar, f32[]: a threshold that stays adjustable in the compiled engine."""
    return graph_input(name, tensor("f32"), default=float(default))


def parameter(
    name: str,
    *dims: DimLike,
    init: str = "normal",
    value: float = 0.0,
    trainable: bool = True,
    buffer: bool = False,
    dtype: str = "f32",
) -> Value:
    """Declare a parameter under the current scope, or re-use it inside `share`.

    init: `normal` (value = standard deviation), `kaiming` (fan-in, gain by `value`), `constant` (value), `rays` (points
    a direction), `steps` (0, 1, 2, ...). All dims must be numbers. Raises DuplicateParameter when the full name exists
    and is not shared.
    """
    trace, places = current(), here()
    full = ".".join([*trace.scopes, name])
    shape = tensor(dtype, *dims)
    if full in trace.params:
        if not any(full in names for names in trace.shared):
            raise DuplicateParameter(
                f"parameter {full!r} is declared twice",
                where=f"{render(places)}\n  declared before at\n{render(trace.params[full].node.places)}",
                help="wrap the function that declares it in share(...) to use it twice, or open another scope",
            )
        return trace.params[full]
    if any(d.constant is None for d in shape.dims):
        raise BadAttribute(
            f"parameter {full!r} has shape {shape}; parameter sizes must be numbers", where=render(places)
        )
    attributes = {
        "name": full,
        "type": str(shape),
        "init": init,
        "value": value,
        "trainable": trainable,
        "buffer": buffer,
    }
    made = trace.leaf("param", shape, attributes, places)
    trace.params[full] = made
    for names in trace.shared:
        names.add(full)
    return made


@contextmanager
def scope(name: str | int) -> Iterator[None]:
    """Prefix of the parameter names declared inside."""
    trace = current()
    trace.scopes.append(str(name))
    try:
        yield
    finally:
        trace.scopes.pop()


def share(function: Callable[..., T], *fixed: Any, **keywords: Any) -> Callable[..., T]:
    """The function with its parameters declared at the first call and re-used by every later one.

    The only way to use a parameter twice. Further arguments given here are passed on at each call, after the call's
    own.
    """
    names: set[str] = set()

    def shared(*args: Any) -> T:
        trace = current()
        trace.shared.append(names)
        try:
            return function(*args, *fixed, **keywords)
        finally:
            trace.shared.pop()

    return shared


@overload
def tap(name: str, values: Value) -> Value: ...
@overload
def tap(name: str, values: T) -> T: ...
def tap(name: str, values: Any) -> Any:
    """Give values a public name (`neck.0`, `neck.1`): inspected, compared and drawn by that name.

    Returns them unchanged. In a shared part that is called again, the values of the first call keep the name.
    """
    taps = current().taps
    if isinstance(values, Value):
        taps.setdefault(name, values)
    else:
        for i, value in enumerate(values):
            tap(f"{name}.{i}", value)
    return values


def within(name: str, function: Callable[..., T], *args: Any, **keywords: Any) -> T:
    """Call a part under a scope and tap what it returns by the scope's name."""
    with scope(name):
        result = function(*args, **keywords)
    return tap(name, result)


def by_phase(*, train: Callable[[], T], infer: Callable[[], T]) -> T:
    """The one legal difference between the two traces of a declaration: thunks, of which one is called."""
    trace = current()
    trace.in_phase += 1
    try:
        return train() if trace.phase == "train" else infer()
    finally:
        trace.in_phase -= 1


def mark_train_only(value: Value) -> Value:
    """Say that a value exists only in training; the check of the finished trace finds it in detections."""
    current().train_only.add(value)
    return value


def type_of_leaf(node: Node, names: Callable[[str], Dim]) -> Type:
    """The declared type of an input, parameter or constant node."""
    if node.name == "const":
        array = node.attributes["value"]
        return tensor(dtype_name(array.dtype), *array.shape)
    if node.name not in ("input", "param"):
        raise UnknownName(f"{node.name} is not a leaf")
    return parse_type(node.attributes["type"], names)


__all__ = [
    "PHASES",
    "Trace",
    "by_phase",
    "constant",
    "current",
    "graph_input",
    "parameter",
    "scope",
    "setting",
    "share",
    "tap",
    "tracing",
    "within",
]
