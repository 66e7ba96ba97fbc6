"""Operators that a backend gets wrong: what was seen, in which version, and how an engine avoids it.

Every row but the cited ones has a reproducer in `tests/backends/test_known_bad.py`, which fails when the backend is
mended, so that the row can go. `partition` asks this table which nodes it concerns: such a node runs on the runtime's
kernel, or decomposed, or is refused with the row's text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphdet.compiler.backends.target import Target
from graphdet.ir.graph import Graph, Node

Attributes = Mapping[str, Any]


def _always(node: Node, attributes: Attributes) -> bool:
    return True


@dataclass(frozen=True)
class KnownBad:
    """A fault of a backend.

    operator: of ONNX · target, version: where it was seen · condition: in words, and as a predicate over the graph's
    node and the attributes of its ONNX operator · effect: what the backend does · source: who else reports it.
    """

    operator: str
    target: str
    version: str
    condition: str
    effect: str
    source: str = ""
    concerns: Callable[[Node, Attributes], bool] = _always

    def __str__(self) -> str:
        condition = f" with {self.condition}" if self.condition else ""
        return f"{self.operator}{condition} on {self.target} {self.version}: {self.effect}"


def _empty(node: Node, attributes: Attributes) -> bool:
    return any(d.constant == 0 for v in node.inputs if v is not None for d in v.type.dims)


TABLE = (
    KnownBad("DeformConv", "openvino", "2026.4", "", "its reader of ONNX models does not know the operator"),
    KnownBad(
        "NonMaxSuppression", "openvino", "2026.4", "",
        "a box whose overlap equals the threshold is suppressed, which the standard forbids",
    ),
    KnownBad(
        "Resize", "openvino", "2026.4", "antialias=1", "values differ from the standard",
        concerns=lambda node, a: bool(a.get("antialias")),
    ),
    KnownBad(
        "Resize", "openvino", "2026.4", "exclude_outside=1", "values differ from the standard",
        concerns=lambda node, a: bool(a.get("exclude_outside")),
    ),
    KnownBad(
        "Resize", "openvino", "2026.4", "keep_aspect_ratio_policy", "the policy is ignored, so the size is another",
        concerns=lambda node, a: a.get("keep_aspect_ratio_policy", b"stretch") != b"stretch",
    ),
    KnownBad(
        "RoiAlign", "openvino", "2026.4", "no RoIs, known when it is compiled", "the process crashes", concerns=_empty,
    ),
    KnownBad(
        "RoiAlign", "openvino", "2026.4", "mode=max", "values differ from the standard",
        concerns=lambda node, a: a.get("mode") == b"max",
    ),
    KnownBad("TopK", "openvino", "2026.4", "", "equal values come in an order other than that of their indices"),
    KnownBad(
        "GridSample", "tensorrt", "10.14 to 11.1", "", "wrong results without an error in deformable attention",
        source="https://github.com/NVIDIA/TensorRT/issues/4813",
    ),
)  # fmt: skip


def faults(graph: Graph, target: Target) -> dict[Node, KnownBad]:
    """The nodes whose ONNX form a target gets wrong, each with the first row that concerns it."""
    rows = [row for row in TABLE if row.target == target.name]
    if target.rule != "onnx" or not rows:
        return {}
    from graphdet.compiler.backends.onnx.emit import operators  # loads the onnx package

    found: dict[Node, KnownBad] = {}
    for node, made in operators(graph):
        for row in rows:
            if any(name == row.operator and row.concerns(node, attributes) for name, attributes in made):
                found.setdefault(node, row)
    return found
