"""What a compile target is: one row with its limits, and the function that turns a segment into bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from graphdet.errors import UnknownName, nearest
from graphdet.ir.graph import Graph
from graphdet.ir.op import NATIVE, TRAIN, Op
from graphdet.records import Array

Build = Callable[[Graph, Mapping[str, Array]], bytes]
TARGETS = ("openvino", "onnxruntime", "onnx", "torch")


@dataclass(frozen=True)
class Target:
    """One row of the targets table.

    dtypes: what it computes in · opset: of its ONNX segments · install: the command that brings its package · build:
    turns a graph into a segment's bytes · selection: whether NMS and top-k stay in the segment (otherwise the runtime's
    kernels run them) · rule: the lowering that its ops need · limits: ops it must not get, with the reason · notes:
    what a user should know.
    """

    name: str
    dtypes: tuple[str, ...]
    opset: int
    install: str
    build: Build
    selection: bool = False
    rule: str = "onnx"
    limits: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def dense(self, op: Op[..., Any]) -> bool:
        """Whether an op may stand in a segment of this target."""
        if TRAIN in op.traits or op.name in self.limits or (NATIVE in op.traits and not self.selection):
            return False
        return self.rule in op.rules or "decompose" in op.rules


def find_target(name: str) -> Target:
    """A target by name. Raises UnknownName with the nearest known one."""
    if name not in TARGETS:
        raise UnknownName(f"unknown target {name!r}; known: {', '.join(TARGETS)}", help=nearest(name, TARGETS))
    return cast(Target, import_module(f"graphdet.compiler.backends.{name}.target").TARGET)
