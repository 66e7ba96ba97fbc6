"""The convolutions of a traced detector in the order in which files without names list theirs."""

from __future__ import annotations

from graphdet.importers.onnx_order import ConvSlot, NormSlot
from graphdet.ir.detector import OrderKey
from graphdet.ir.graph import Graph, Node, Value


def conv_slots(graph: Graph, export_order: OrderKey | None = None) -> list[ConvSlot]:
    """Every `conv2d` of an inference graph with the batch norm that consumes it, one slot for every execution.

    Slots stand in execution order; `export_order` maps the full name of a convolution's weight to a sort key that moves
    them where the file's author had them (the sort is stable). Convolutions whose weight is no parameter are left out.
    """
    slots = [_slot(graph, node) for node in graph.nodes if node.name == "conv2d" and _parameter(node.inputs[1])]
    return sorted(slots, key=lambda s: export_order(s.weight)) if export_order else slots


def _slot(graph: Graph, node: Node) -> ConvSlot:
    bias = _parameter(node.inputs[2]) if len(node.inputs) > 2 else ""
    norm = next(
        (user for user, operand in graph.uses[node.outputs[0]] if user.name == "batch_norm" and operand == 0), None
    )
    return ConvSlot(_parameter(node.inputs[1]), bias or None, _norm(norm) if norm else None)


def _norm(node: Node) -> NormSlot:
    weight, bias, mean, var = (_parameter(value) for value in node.inputs[1:5])
    return NormSlot(weight, bias, mean, var, float(node.attributes["eps"]))


def _parameter(value: Value | None) -> str:
    """The full name of a parameter; the empty string for any other value."""
    return str(value.node.attributes["name"]) if value is not None and value.node.name == "param" else ""
