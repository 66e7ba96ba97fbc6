"""plan => one arena: what native steps make and is never alive together shares bytes.

What segments make stays where the backend puts it.

Greedy by size (largest first), each at the lowest offset that is free for its whole life: the usual heuristic for
tensor arenas (Pisarchyk and Lee 2020, arXiv:2001.03288, "greedy by size").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphdet.compiler.passes.partition import Partition
from graphdet.ir.graph import Value
from graphdet.ir.types import numpy_dtype
from graphdet.runtime.header import NativeStep

ALIGNMENT = 64


def plan_memory(parts: Partition, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Offsets of what native steps make, at the given sizes: {"bytes", "at", "buffers": {name: {offset, bytes}}}."""
    values = parts.values()
    lives = _lives(parts)
    order = sorted(lives, key=lambda name: (-_bytes(values[name], sizes), name))
    placed: list[tuple[int, int, tuple[int, int]]] = []
    buffers: dict[str, dict[str, int]] = {}
    for name in order:
        size, (born, dies) = _bytes(values[name], sizes), lives[name]
        offset = 0
        for start, stop, (other_born, other_dies) in sorted(placed):
            if other_born <= dies and born <= other_dies and offset < stop and start < offset + size:
                offset = -(-stop // ALIGNMENT) * ALIGNMENT
        placed.append((offset, offset + size, (born, dies)))
        buffers[name] = {"offset": offset, "bytes": size}
    return {"bytes": max((stop for _, stop, _ in placed), default=0), "at": dict(sizes), "buffers": buffers}


def _lives(parts: Partition) -> dict[str, tuple[int, int]]:
    """First and last step of every value that a native step makes; outputs live to the end."""
    lives: dict[str, tuple[int, int]] = {}
    for i, step in enumerate(parts.steps):
        for name in step.inputs:
            if name in lives:
                lives[name] = (lives[name][0], i)
        if isinstance(step, NativeStep):
            lives.update({name: (i, i) for name in step.outputs})
    for name in parts.outputs.values():
        if name in lives:
            lives[name] = (lives[name][0], len(parts.steps))
    return lives


def _bytes(value: Value, sizes: Mapping[str, int]) -> int:
    total = numpy_dtype(value.type.dtype).itemsize
    for dim in value.type.dims:
        total *= dim.evaluate(sizes)
    return total
