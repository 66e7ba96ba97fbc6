"""The typed graph: types, ops, traces, the verifier, and the textual form."""

from graphdet.ir.check import verify
from graphdet.ir.detector import Detector, Found, Image, Segments, Variant, detector, row, trace
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.op import OPS, Op, op
from graphdet.ir.text import parse, to_text
from graphdet.ir.trace import by_phase, constant, parameter, scope, setting, share, tap, tracing, within
from graphdet.ir.types import Type, boxes, tensor
from graphdet.ir.walk import diff

__all__ = [
    "OPS", "Detector", "Dim", "Found", "Graph", "Image", "Node", "Op", "Segments", "Type", "Value", "Variant", "boxes",
    "by_phase", "constant", "detector", "diff", "op", "parameter", "parse", "row", "scope", "setting", "share", "tap",
    "tensor", "to_text", "trace", "tracing", "verify", "within",
]  # fmt: skip
