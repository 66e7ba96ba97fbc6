"""Lower a graph to a `torch.fx.GraphModule`: autograd, autocast, `torch.compile`, `state_dict` work as on any module.

The state dict has the graph's parameter names. `forward` takes the graph inputs by keyword (dots become underscores:
`truth_boxes`) and returns a dict from output name to tensor. `module.code` shows the program.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from graphdet.compiler.backends.torch.kernels import RULES
from graphdet.compiler.passes.legalize import expand
from graphdet.errors import BadWeights
from graphdet.ir.dims import Atom, Dim, Symbol
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.initial import initial_values
from graphdet.ir.op import OPS
from graphdet.records import Array


def to_module(graph: Graph, params: Mapping[str, Array] | None = None, *, taps: bool = False) -> fx.GraphModule:
    """The graph as a module, with the given parameter values (by default the declared initial ones).

    taps: also return the graph's tapped values. Raises NotLowerable for ops without a PyTorch form, BadWeights for a
    missing parameter.
    """
    graph = expand(graph, lambda op: "torch" in op.rules)
    outputs = {**graph.outputs, **(graph.taps if taps else {})}
    root = _Container()
    _register(root, graph, params)
    lowering = _Lowering(root)
    for node in sorted(graph.nodes, key=_rank):
        lowering.add(node)
    lowering.program.output({name: lowering.values[value] for name, value in outputs.items()})
    module = fx.GraphModule(root, lowering.program, class_name=graph.name)
    module._non_persistent_buffers_set |= (
        root._non_persistent_buffers_set
    )  # GraphModule copies buffers as persistent ones
    return module


def _rank(node: Node) -> int:
    """Inputs come first, and of those the ones without a default: so a Python signature wants them."""
    return 2 if node.name != "input" else int(node.attributes.get("default") is not None)


class _Container(nn.Module):
    """A node of the tree of parameter names."""


def _register(root: nn.Module, graph: Graph, params: Mapping[str, Array] | None) -> None:
    values = initial_values(graph) if params is None else params
    for name, value in graph.params.items():
        if name not in values:
            raise BadWeights(f"parameter {name!r} is missing; expected {value.type}")
        *path, leaf = name.split(".")
        home = root
        for part in path:
            if not hasattr(home, part):
                home.add_module(part, _Container())
            home = getattr(home, part)
        tensor = torch.from_numpy(np.array(values[name]))
        if value.node.attributes["buffer"]:
            home.register_buffer(leaf, tensor)
        else:
            home.register_parameter(leaf, nn.Parameter(tensor, requires_grad=value.node.attributes["trainable"]))


class _Lowering:
    """The fx program in the making: an fx node for every value, and for every symbolic size that attributes mention."""

    def __init__(self, root: nn.Module) -> None:
        self.root, self.program = root, fx.Graph()
        self.values: dict[Value, fx.Node] = {}
        self.sizes: dict[str, tuple[fx.Node, int]] = {}
        self.dims: dict[Dim, Any] = {}

    def add(self, node: Node) -> None:
        """Lower one node."""
        match node.name:
            case "input":
                self._input(node)
            case "param":
                self.values[node.outputs[0]] = self.program.get_attr(node.attributes["name"])
            case "const":
                self.values[node.outputs[0]] = self._constant(node.attributes["value"])
            case _:
                operands = tuple(None if v is None else self.values[v] for v in node.inputs)
                attributes = {k: self._attribute(v) for k, v in node.attributes.items()}
                result = self.program.call_function(callable_of(node.op.name), operands, attributes)
                result.meta.update(place=node.place, shape=node.outputs[0].shape)
                self._results(node, result)

    def _results(self, node: Node, result: fx.Node) -> None:
        for i, value in enumerate(node.outputs):
            one = result if len(node.outputs) == 1 else self.program.call_function(operator.getitem, (result, i))
            self._value(value, one)

    def _input(self, node: Node) -> None:
        name, default = node.attributes["name"].replace(".", "_"), node.attributes.get("default")
        extra = {} if default is None else {"default_value": default}
        value = self.program.placeholder(name, **extra)
        self._value(node.outputs[0], value)

    def _value(self, value: Value, made: fx.Node) -> None:
        """What stands for a value, and sizes that it is the first to show."""
        self.values[value] = made
        for axis, dim in enumerate(value.type.dims):
            if dim.symbol_alone:
                self.sizes.setdefault(dim.symbol_alone.name, (made, axis))

    def _constant(self, array: Array) -> fx.Node:
        name = f"constant_{sum(1 for k in self.root._buffers if k.startswith('constant_'))}"
        self.root.register_buffer(name, torch.from_numpy(np.array(array)), persistent=False)
        return self.program.get_attr(name)

    def _attribute(self, attribute: Any) -> Any:
        if isinstance(attribute, Dim):
            return self._dim(attribute)
        return tuple(map(self._attribute, attribute)) if isinstance(attribute, tuple) else attribute

    def _dim(self, dim: Dim) -> Any:
        if dim.constant is not None:
            return dim.constant
        if dim not in self.dims:
            total: Any = None
            for monomial, factor in dim.terms:
                term: Any = factor
                for atom in monomial:
                    term = self._call(operator.mul, self._atom(atom), term) if term != 1 else self._atom(atom)
                total = term if total is None else self._call(operator.add, total, term)
            self.dims[dim] = total
        return self.dims[dim]

    def _atom(self, atom: Atom) -> Any:
        if isinstance(atom, Symbol):
            value, axis = self.sizes[atom.name]
            size = self.program.call_method("size", (value, axis))
            return size if atom.multiple == 1 else self._call(operator.floordiv, size, atom.multiple)
        left, right = (self._dim(a) for a in atom.arguments)
        return self._call(operator.floordiv if atom.function == "floor" else min, left, right)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> fx.Node:
        return self.program.call_function(function, arguments)


@cache
def callable_of(name: str) -> Callable[..., Any]:
    """The op's PyTorch rule as a plain function under the op's name, so that generated code reads like the graph."""
    rule = RULES.get(name) or OPS[name].rules["torch"]

    def apply(*operands: Any, **attributes: Any) -> Any:
        return rule(torch, *operands, **attributes)

    apply.__name__ = apply.__qualname__ = name
    apply.__module__ = "graphdet.ops"
    return apply


def load_weights(module: nn.Module, weights: Mapping[str, Array]) -> None:
    """Copy values into a module; names and shapes must match (BadWeights tells what does not)."""
    from graphdet.importers.weights import match_names

    expected = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    matched = match_names(expected, weights)
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in matched.items()})
