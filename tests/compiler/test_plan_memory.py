"""The memory plan: values that are alive together never share bytes."""

from __future__ import annotations

from itertools import combinations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from graphdet.compiler.backends.target import find_target
from graphdet.compiler.driver import optimise
from graphdet.compiler.passes.partition import Partition, partition
from graphdet.compiler.passes.plan_memory import ALIGNMENT, plan_memory
from graphdet.ir import Graph
from graphdet.ir.detector import trace
from graphdet.ir.graph import Node, Value
from graphdet.ir.op import OPS
from graphdet.ir.types import tensor
from graphdet.runtime.header import NativeStep
from tests.compiler import tiny


@st.composite
def plans(draw: st.DrawFn) -> Partition:
    """Chains of steps that read some of what was made before: sizes, fan-in and outputs at random."""
    values: list[tuple[str, Value]] = []
    steps = []
    for i in range(draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.sampled_from([n for n, _ in values]), max_size=3)) if values else []
        made = [(f"v{i}_{k}", _value(draw(st.integers(0, 300)))) for k in range(draw(st.integers(1, 3)))]
        values += made
        steps.append(NativeStep("step", tuple(inputs), tuple(name for name, _ in made)))
    shown = draw(st.lists(st.sampled_from([n for n, _ in values]), max_size=3, unique=True))
    names = {value: name for name, value in values}
    return Partition(Graph("random", "infer", (), {}), {}, tuple(steps), {n: n for n in shown}, {}, names)


def _value(size: int) -> Value:
    return Node.make(OPS["input"], (), {}, (tensor("f32", size),)).outputs[0]


def lives(parts: Partition) -> dict[str, range]:
    """The steps during which each value must keep its bytes, found the slow way."""
    found: dict[str, range] = {}
    for i, step in enumerate(parts.steps):
        for name in step.outputs if isinstance(step, NativeStep) else ():
            uses = [k for k, later in enumerate(parts.steps) if name in later.inputs]
            end = len(parts.steps) if name in parts.outputs.values() else max(uses, default=i)
            found[name] = range(i, end + 1)
    return found


def check(parts: Partition, sizes: dict[str, int]) -> None:
    """No overlap, alignment, and a total between the largest need at one time and the sum."""
    plan = plan_memory(parts, sizes)
    buffers, alive = plan["buffers"], lives(parts)
    assert set(buffers) == set(alive)
    for a, b in combinations(buffers, 2):
        if set(alive[a]) & set(alive[b]):
            first, second = sorted((buffers[a], buffers[b]), key=lambda r: (r["offset"], r["bytes"]))
            assert first["offset"] + first["bytes"] <= second["offset"] or not first["bytes"] * second["bytes"], (a, b)
    assert all(row["offset"] % ALIGNMENT == 0 for row in buffers.values())
    padded = [-(-row["bytes"] // ALIGNMENT) * ALIGNMENT for row in buffers.values()]
    peak = max(sum(buffers[n]["bytes"] for n, steps in alive.items() if i in steps) for i in range(len(parts.steps)))
    assert peak <= plan["bytes"] <= sum(padded)
    assert plan["bytes"] == max((row["offset"] + row["bytes"] for row in buffers.values()), default=0)


@given(plans())
def test_values_alive_together_never_overlap(parts: Partition) -> None:
    check(parts, {})


@given(plans())
def test_is_deterministic(parts: Partition) -> None:
    assert plan_memory(parts, {}) == plan_memory(parts, {})


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("target", ["openvino", "onnx"])
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_detectors(name: str, target: str, batch: int) -> None:
    graph = trace(tiny.DETECTORS[name])
    parts = partition(optimise(graph, tiny.fill(graph), {}).graph, find_target(target))
    sizes = {"N": batch, "H": 64, "W": 96}
    check(parts, sizes)
    assert plan_memory(parts, sizes)["at"] == sizes


def test_a_plan_without_values_needs_nothing() -> None:
    assert plan_memory(Partition(Graph("none", "infer", (), {}), {}, (), {}, {}, {}), {}) == {
        "bytes": 0,
        "at": {},
        "buffers": {},
    }
