"""Interpret a graph node by node with the ops' `reference` rules: slow, obvious, the meaning of every other backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphdet.errors import BadInput, BadWeights, NotLowerable
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.trace import tracing
from graphdet.ir.types import numpy_dtype
from graphdet.ir.walk import cone
from graphdet.records import Array

Sizes = dict[str, int]


def execute(
    graph: Graph, inputs: Mapping[str, Array], params: Mapping[str, Array], *, values: Iterable[Value] | None = None
) -> dict[Value, Array]:
    """Compute graph outputs (or the given values): a table from Value to array.

    Inputs by name, parameters by full name; a setting that is left out takes its default. Raises BadInput for a missing
    or misshapen input, BadWeights for a missing parameter, NotLowerable for an op without a reference.
    """
    wanted = tuple(graph.outputs.values() if values is None else values)
    needed = cone(wanted)
    sizes = sizes_of(graph, inputs)
    table: dict[Value, Array] = {}
    for node in graph.nodes:
        if node not in needed:
            continue
        if node.name in ("input", "param", "const"):
            table[node.outputs[0]] = _leaf(node, inputs, params)
            continue
        operands = [None if v is None else table[v] for v in node.inputs]
        results = run_node(node, operands, sizes)
        for value, array in zip(node.outputs, results, strict=True):
            table[value] = array
            _learn_sizes(value, array, sizes)
    return {v: table[v] for v in wanted}


def run_node(node: Node, operands: list[Any], sizes: Mapping[str, int]) -> tuple[Array, ...]:
    """One op by its reference, or by its decomposition where that is its meaning."""
    attributes = resolve(node.attributes, sizes)
    if "reference" not in node.op.rules:
        raise NotLowerable(f"op {node.name} has no reference")
    with np.errstate(all="ignore"):
        result = node.op.rules["reference"](*operands, **attributes)
    return tuple(result) if isinstance(result, tuple) else (result,)


def resolve(attributes: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Attributes with symbolic dims replaced by their numbers."""

    def number(attribute: Any) -> Any:
        if isinstance(attribute, Dim):
            return attribute.evaluate(sizes)
        return tuple(map(number, attribute)) if isinstance(attribute, tuple) else attribute

    return {k: number(v) for k, v in attributes.items()}


def sizes_of(graph: Graph, inputs: Mapping[str, Array]) -> Sizes:
    """The sizes of a graph's symbols, read off its inputs. Raises BadInput where inputs disagree with their types."""
    sizes: Sizes = {}
    for name, value in graph.inputs.items():
        if name not in inputs:
            if value.node.attributes.get("default") is None:
                raise BadInput(f"input {name!r} is missing; expected {value.type}")
            continue
        shape = np.shape(inputs[name])
        if len(shape) != value.type.rank:
            raise BadInput(f"input {name!r} has shape {list(shape)}; expected {value.type}")
        for dim, found in zip(value.type.dims, shape, strict=True):
            _read_size(name, dim, found, sizes)
    return sizes


def _learn_sizes(value: Value, array: Array, sizes: Sizes) -> None:
    """Sizes that depend on data are read off the values that show them first."""
    for dim, found in zip(value.type.dims, array.shape, strict=True):
        if dim.symbol_alone:
            sizes.setdefault(dim.symbol_alone.name, found)


def _read_size(name: str, dim: Dim, found: int, sizes: Sizes) -> None:
    symbols = dim.symbols
    if len(symbols) == 1 and dim == Dim.symbol(*_fields(dim)):
        symbol = next(iter(symbols))
        if found % symbol.multiple:
            raise BadInput(f"input {name!r}: {symbol.name} = {found} is not a multiple of {symbol.multiple}")
        sizes.setdefault(symbol.name, found)
    try:
        wanted = dim.evaluate(sizes)
    except KeyError:
        return  # a derived size of a border value: nothing to learn and nothing to check yet
    if wanted != found:
        raise BadInput(f"input {name!r}: a size is {found}, but {dim} = {wanted} is expected")


def _fields(dim: Dim) -> tuple[str, int, int]:
    symbol = next(iter(dim.symbols))
    return symbol.name, symbol.multiple, symbol.bound


def _leaf(node: Node, inputs: Mapping[str, Array], params: Mapping[str, Array]) -> Array:
    if node.name == "const":
        return np.asarray(node.attributes["value"])
    name = node.attributes["name"]
    table: Mapping[str, Any] = inputs if node.name == "input" else params
    if name not in table:
        default = node.attributes.get("default")
        if default is not None:
            return np.asarray(default, np.float32)
        raise BadWeights(f"parameter {name!r} is missing; expected {node.outputs[0].type}")
    return np.asarray(table[name], numpy_dtype(node.outputs[0].type.dtype))


def op_graph(op: Any, operands: Iterable[Any], attributes: Mapping[str, Any]) -> tuple[Graph, dict[str, Array]]:
    """A graph of one op over the given arrays (None: absent operand), and its inputs: tests run it on each backend."""
    from graphdet.ir.trace import graph_input
    from graphdet.ir.types import Type, dtype_name

    arrays: dict[str, Array] = {}
    with tracing(op.name, "train") as opened:
        values: list[Value | None] = []
        for i, array in enumerate(operands):
            if array is None:
                values.append(None)
                continue
            slot = op.sources[min(i, len(op.sources) - 1)]
            kind = slot.kind if slot.kind in ("logits", "scores", "boxes", "points") else "tensor"
            words = [p if p.islower() else "net" for p in slot.parameters]
            form, frame = (words[0], words[1]) if len(words) == 2 else ("", words[0] if words else "")
            type = Type(dtype_name(array.dtype), tuple(map(Dim.of, array.shape)), kind, form, frame)
            values.append(graph_input(f"x{i}", type))
            arrays[f"x{i}"] = array
        result = op(*values, **attributes)
    results = result if isinstance(result, tuple) else (result,)
    return opened.graph({f"y{i}": v for i, v in enumerate(results)}), arrays
