"""A typed graph as an ONNX model: standard operators, symbolic sizes, weights inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from graphdet._version import __version__
from graphdet.compiler.backends.onnx.emitter import DTYPES, Emitter, Handle
from graphdet.compiler.passes.legalize import expand, refuse_missing
from graphdet.errors import BadWeights, InternalError
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import Op
from graphdet.ir.types import Type, numpy_dtype
from graphdet.ir.walk import LEAVES, live
from graphdet.records import Array

OPSET = 18
IR_VERSION = 8  # the version of opset 18's time: every release that knows the opset reads it


def emit(graph: Graph, params: Mapping[str, Array], *, extra: Mapping[str, Value] | None = None) -> ModelProto:
    """The graph as an ONNX model: inputs and outputs by their names, `extra` values as further outputs.

    Free dims are symbolic in the model; every graph input is a model input, used or not. Raises NotLowerable that lists
    all ops without an ONNX form, BadWeights for missing or misshapen parameters.
    """
    named = {**graph.outputs, **{k: v for k, v in (extra or {}).items() if k not in graph.outputs}}
    inputs = tuple(graph.inputs.values())
    wanted = live(Graph(graph.name, graph.phase, graph.nodes, named))
    whole = expand(wanted, has_rule)
    refuse_missing("onnx", whole.nodes, has_rule)
    model = ModelProto(ir_version=IR_VERSION, producer_name="graphdet", producer_version=__version__)
    model.opset_import.add(domain="", version=OPSET)
    model.graph.name = graph.name
    _Emission(model.graph, whole, params, inputs).run()
    return model


def has_rule(op: Op[..., Any]) -> bool:
    """Whether an op has an ONNX form of its own."""
    return "onnx" in op.rules


def operators(graph: Graph) -> Iterator[tuple[Node, list[tuple[str, dict[str, Any]]]]]:
    """Each node that has an ONNX form, with the operators that it becomes: their names and attributes."""
    proto = GraphProto()
    emitter = Emitter(proto, set())
    handles: dict[Value, Handle] = {}
    for node in graph.nodes:
        for value in node.outputs:
            handles[value] = f"v{len(handles)}"
            emitter.know(handles[value], value.type, source=True)
        if "onnx" not in node.op.rules:
            continue
        start = len(proto.node)
        node.op.rules["onnx"](emitter, *(None if v is None else handles[v] for v in node.inputs), **node.attributes)
        made = proto.node[start:]
        yield node, [(n.op_type, {a.name: helper.get_attribute_value(a) for a in n.attribute}) for n in made]


def to_bytes(model: ModelProto) -> bytes:
    """The model file; equal models give equal bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Emission:
    """One graph on its way into a GraphProto."""

    def __init__(self, proto: GraphProto, graph: Graph, params: Mapping[str, Array], inputs: tuple[Value, ...]) -> None:
        self._proto, self._graph, self._params, self._inputs = proto, graph, params, inputs
        names = {*graph.outputs, *graph.params, *(v.node.attributes["name"] for v in inputs)}
        self._emitter = Emitter(proto, names)
        self._handles: dict[Value, Handle] = {}

    def run(self) -> None:
        """Write inputs, parameters, operators and outputs."""
        for value in self._inputs:
            name = value.node.attributes["name"]
            _describe(self._proto.input.add(), name, value.type)
            self._emitter.know(name, value.type, source=True)
        for node in self._graph.nodes:
            if node.name in LEAVES:
                self._leaf(node)
            else:
                self._node(node)
        self._finish()

    def _leaf(self, node: Node) -> None:
        value = node.outputs[0]
        handle: Handle = node.attributes.get("name", "")
        if node.name == "const":
            handle = self._emitter.constant(node.attributes["value"])
        elif node.name == "param":
            self._emitter.initializer(handle, _parameter(handle, value.type, self._params))
        self._handles[value] = handle
        self._emitter.know(handle, value.type)

    def _node(self, node: Node) -> None:
        operands = [None if v is None else self._handles[v] for v in node.inputs]
        self._emitter.begin(node)
        result = node.op.rules["onnx"](self._emitter, *operands, **node.attributes)
        handles = result if isinstance(result, tuple) else (result,)
        if len(handles) != len(node.outputs):
            raise InternalError(f"the onnx rule of {node.name} gives {len(handles)} values, not {len(node.outputs)}")
        for value, handle in zip(node.outputs, handles, strict=True):
            self._handles[value] = handle
            self._emitter.know(handle, value.type)

    def _finish(self) -> None:
        """Give results their public names: by renaming where the value is an operator's own, else through Identity."""
        made = {name for node in self._proto.node for name in node.output}
        names: dict[Handle, str] = {}
        copies: list[tuple[Handle, str]] = []
        for name, value in self._graph.outputs.items():
            _describe(self._proto.output.add(), name, value.type)
            handle = self._handles[value]
            if handle in made and handle not in names:
                names[handle] = name
            else:
                copies.append((handle, name))
        for node in self._proto.node:
            for names_of in (node.input, node.output):
                for i, handle in enumerate(names_of):
                    if handle in names:
                        names_of[i] = names[handle]
        for handle, name in copies:
            source = names.get(handle, handle)
            self._proto.node.add(op_type="Identity", input=[source], output=[name], name=f"{name}/Identity")


def _parameter(name: str, type: Type, params: Mapping[str, Array]) -> Array:
    if name not in params:
        raise BadWeights(f"parameter {name!r} is missing; expected {type}")
    array = np.asarray(params[name], numpy_dtype(type.dtype))
    if list(array.shape) != [d.constant for d in type.dims]:
        raise BadWeights(f"parameter {name!r} has shape {list(array.shape)}; expected {type}")
    return array


def _describe(info: ValueInfoProto, name: str, type: Type) -> None:
    """Name, dtype and dims of a border value; a dim that is no number is written as its expression (`N`, `H/8`)."""
    info.name = name
    tensor = info.type.tensor_type
    tensor.elem_type = DTYPES[type.dtype]
    tensor.shape.SetInParent()
    for dim in type.dims:
        one = tensor.shape.dim.add()
        if dim.constant is not None:
            one.dim_value = dim.constant
        else:
            one.dim_param = str(dim)
