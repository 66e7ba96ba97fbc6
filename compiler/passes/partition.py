"""graph => plan: dense segments for the backend, native steps for the runtime's kernels, and what crosses between them.

A node is native if its op belongs to the runtime, if the backend is known to get it wrong, or if it continues from a
native result and a kernel for it exists (so that nothing returns to the backend for a few numbers). All others are
dense; nodes of the same depth, counted in changes from native to dense, form one segment. A segment whose own inputs do
not show a size that it needs also takes the graph's input that shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphdet.compiler.backends.target import Target
from graphdet.compiler.known_bad import faults
from graphdet.compiler.passes.legalize import expand, refuse_missing
from graphdet.errors import InternalError
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import NATIVE, OPS, Op
from graphdet.ir.types import Type, numpy_dtype
from graphdet.ir.walk import LEAVES, Builder, dims_of
from graphdet.records import Array
from graphdet.runtime.header import NativeStep, SegmentStep, Step


@dataclass(frozen=True)
class Partition:
    """segments: graphs by name; inputs, outputs and taps, on all values, named as in the plan.

    constants: arrays that native steps read; also outputs that are constants, but for a target whose one segment holds
    all outputs.
    """

    graph: Graph
    segments: Mapping[str, Graph]
    steps: tuple[Step, ...]
    outputs: Mapping[str, str]
    constants: Mapping[str, Array]
    names: Mapping[Value, str]

    def values(self) -> dict[str, Value]:
        """The value behind each name of the plan."""
        return {name: value for value, name in self.names.items()}


def partition(graph: Graph, target: Target) -> Partition:
    """Split a graph for a target.

    Raises NotLowerable listing every op that neither the target nor the runtime can run.
    """
    graph, moved = _legalised(graph, target)
    native, depth = _assign(graph, target, moved)
    names = _names(graph)
    segments: dict[str, Graph] = {}
    steps: list[Step] = []
    fixed = [v for v in graph.outputs.values() if v.node.name == "const"]
    deepest = max((d for n, d in depth.items() if n.name not in LEAVES and n not in native), default=0)
    for level in range(max(depth.values(), default=0) + 1):
        dense = [n for n in graph.nodes if n.name not in LEAVES and n not in native and depth[n] == level]
        if dense:
            name = f"dense{len(segments)}"
            whole = target.selection and level == deepest
            segments[name] = _segment(graph, dense, fixed if whole else [], names, f"{graph.name}.{name}")
            steps.append(SegmentStep(name, tuple(segments[name].inputs), tuple(segments[name].outputs)))
        steps += [_native_step(n, names) for n in graph.nodes if n in native and depth[n] == level]
    made = {name for s in steps for name in s.outputs}
    read = {name for s in steps if isinstance(s, NativeStep) for name in s.inputs} | {names[v] for v in fixed}
    constants = {
        names[n.outputs[0]]: np.asarray(n.attributes["value"], numpy_dtype(_crossing(n.outputs[0].type).dtype))
        for n in graph.nodes
        if n.name == "const" and names[n.outputs[0]] in read - made
    }
    outputs = {k: names[v] for k, v in graph.outputs.items()}
    return Partition(graph, segments, tuple(steps), outputs, constants, names)


def _legalised(graph: Graph, target: Target) -> tuple[Graph, set[Node]]:
    """The graph in ops that the target or the runtime has, and the nodes that the target would get wrong.

    Of those, the ones without a kernel are decomposed, or refused.
    """

    def has_rule(op: Op[..., object]) -> bool:
        return _runtime(op, target) or target.rule in op.rules

    graph = expand(graph, has_rule)
    wrong = faults(graph, target)
    without = [node for node in wrong if not _has_kernel(node)]
    if without:
        graph = expand(graph, has_rule, without)
        wrong = faults(graph, target)
    reasons = {node: row for node, row in wrong.items() if not _has_kernel(node)}
    refuse_missing(target.name, graph.nodes, lambda op: _runtime(op, target) or target.dense(op), reasons)
    return graph, set(wrong)


def _runtime(op: Op[..., object], target: Target) -> bool:
    return NATIVE in op.traits and bool(op.native_name) and not target.selection


def _assign(graph: Graph, target: Target, moved: set[Node]) -> tuple[set[Node], dict[Node, int]]:
    """Native nodes, and the depth of every node: how often its longest path went back from native to dense."""
    native: set[Node] = set()
    depth: dict[Node, int] = {}
    for node in graph.nodes:
        before = [v.node for v in node.inputs if v is not None]
        follows = _has_kernel(node) and any(b in native for b in before)
        if _runtime(node.op, target) or node in moved or follows:
            native.add(node)
            depth[node] = max((depth[b] for b in before), default=0)
        else:
            depth[node] = max((depth[b] + (b in native) for b in before), default=0)
    return native, depth


_FLOAT_KERNELS = ("gather_rows", "mul")  # take float32 alone


def _has_kernel(node: Node) -> bool:
    """Whether the runtime has a kernel for the node and its numbers."""
    floats = node.outputs[0].type.dtype == "f32"
    return bool(node.op.native_name) and (floats or node.name not in _FLOAT_KERNELS)


def _names(graph: Graph) -> dict[Value, str]:
    names: dict[Value, str] = {}
    for node in graph.nodes:
        for value in node.outputs:
            names[value] = node.attributes["name"] if node.name == "input" else f"v{len(names)}"
    return names


def _segment(graph: Graph, dense: list[Node], fixed: list[Value], names: Mapping[Value, str], name: str) -> Graph:
    """The dense nodes as a graph of their own: what they take from elsewhere are inputs, what others need outputs.

    fixed: constants that are outputs too.
    """
    inside, builder = set(dense), Builder()
    for node in graph.nodes:
        if node not in inside:
            continue
        for value in node.inputs:
            if value is None or value in builder.now or value.node in inside:
                continue
            if value.node.name == "const":
                builder.put(value.node)
            else:
                builder.now[value] = _cast(
                    _border(names[value], _crossing(value.type), builder), value.type.dtype, builder
                )
        builder.put(node)
    for value in _size_sources(graph, builder.nodes):
        _border(names[value], value.type, builder)
    needed = {v for n in graph.nodes if n not in inside for v in n.inputs if v is not None} | set(
        graph.outputs.values()
    )
    for value in fixed:
        if value not in builder.now:
            builder.put(value.node)
    out = [*(v for n in dense for v in n.outputs if v in needed), *dict.fromkeys(fixed)]
    outputs = {names[v]: _cast(builder.get(v), _crossing(v.type).dtype, builder) for v in out}
    if not outputs:
        raise InternalError(f"segment {name} computes nothing that is needed")
    leaves = [n for n in builder.nodes if n.name in LEAVES]
    whole = (*leaves, *(n for n in builder.nodes if n.name not in LEAVES))
    return Graph(name, graph.phase, whole, outputs, {names[v]: builder.get(v) for n in dense for v in n.outputs})


def _size_sources(graph: Graph, nodes: Sequence[Node]) -> list[Value]:
    """Inputs of the graph that show the sizes which a segment's nodes speak of and none of its own inputs shows."""
    wanted = {s for node in nodes for dim in dims_of(node) for s in dim.symbols}
    shown = {d.symbol_alone for node in nodes if node.name == "input" for d in node.outputs[0].type.dims}
    found = []
    for value in graph.inputs.values():
        new = {d.symbol_alone for d in value.type.dims} & (wanted - shown)
        if new:
            shown |= new
            found.append(value)
    return found


def _crossing(type: Type) -> Type:
    """The type in which a value crosses between steps: truth values as numbers, since steps exchange f32 and i64."""
    return replace(type, dtype="i64") if type.dtype == "b" else type


def _cast(value: Value, dtype: str, builder: Builder) -> Value:
    if value.type.dtype == dtype:
        return value
    made = Node.make(OPS["cast"], (value,), {"to": dtype}, (replace(value.type, dtype=dtype),), value.node.places)
    builder.nodes.append(made)
    return made.outputs[0]


def _border(name: str, type: Type, builder: Builder) -> Value:
    made = Node.make(OPS["input"], (), {"name": name, "type": str(type), "default": None}, (type,))
    builder.nodes.append(made)
    return made.outputs[0]


def _native_step(node: Node, names: Mapping[Value, str]) -> NativeStep:
    attributes = {**node.attributes, **node.op.native_fixed}
    inputs = tuple(None if v is None else names[v] for v in node.inputs)
    return NativeStep(node.op.native_name, inputs, tuple(names[v] for v in node.outputs), attributes, node.place)
