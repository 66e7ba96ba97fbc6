"""Running a plan: segments by their backend, native steps by the kernels, values freed after their last use."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from graphdet.errors import CorruptArtefact, FutureArtefact, GdError, InternalError, nearest
from graphdet.records import Array
from graphdet.runtime.adapters import Segment, open_segment
from graphdet.runtime.artefact import Artefact
from graphdet.runtime.fields import REBUILD
from graphdet.runtime.header import GRAPH_INPUTS, NativeStep, Plan, Step
from graphdet.runtime.kernels import kernels

Run = Callable[[list[Array | None]], list[Array]]
Watch = Callable[[str, Array], None]


class Executor:
    """A plan bound to its segments, kernels and constants.

    Raises at construction:
        CorruptArtefact: a step uses a value that nothing makes, makes one twice, or names a blob that is not there.
        FutureArtefact: a native op is unknown to this version.
        BackendMissing: the target's package, or the kernel extension, is not installed.
    """

    def __init__(self, artefact: Artefact, *, threads: int | None = None) -> None:
        plan = artefact.header.plan
        self._plan = plan
        self._constants = artefact.arrays("constants")
        inputs = (*GRAPH_INPUTS, *artefact.header.thresholds)
        clash = sorted(set(inputs) & set(self._constants))
        if clash:
            raise CorruptArtefact(f"constant {clash[0]!r} has the name of a graph input", help=REBUILD)
        check_values(plan, {*inputs, *self._constants})
        self._runs = [_bind(step, artefact, threads) for step in plan.steps]
        self._dead = _last_uses(plan)
        self._lock = threading.Lock()

    def run(self, inputs: dict[str, Array], *, watch: Watch | None = None) -> dict[str, Array]:
        """Run all steps on the graph inputs (arrays by name) and return the plan's outputs by name.

        watch: called with the name and array of each value as a step makes it; the array is only valid during the call.

        May be called from several threads; runs follow one another, as segments own their output memory.

        Raises:
            InternalError: a step failed; the message names its op, `where` its declaring line.
        """
        with self._lock:
            values: dict[str, Array] = {**self._constants, **inputs}
            for step, run, dead in zip(self._plan.steps, self._runs, self._dead, strict=True):
                operands = [None if name is None else values[name] for name in step.inputs]
                made = dict(zip(step.outputs, _guarded(step, run, operands), strict=True))
                values.update(made)
                if watch:
                    for name, array in made.items():
                        watch(name, array)
                for name in dead:
                    del values[name]
            return {key: np.array(values[name]) for key, name in self._plan.outputs.items()}


def check_values(plan: Plan, known: set[str]) -> None:
    """Every operand and output is made before it is used, and made once; raises CorruptArtefact."""
    made = set(known)
    for i, step in enumerate(plan.steps):
        for name in step.inputs:
            if name is not None and name not in made:
                raise CorruptArtefact(f"plan step {i} uses value {name!r}, which nothing before it makes", help=REBUILD)
        for name in step.outputs:
            if name in made:
                raise CorruptArtefact(f"plan step {i} makes value {name!r} a second time", help=REBUILD)
            made.add(name)
    for key, name in plan.outputs.items():
        if name not in made:
            raise CorruptArtefact(f"plan output {key} is value {name!r}, which nothing makes", help=REBUILD)


def _last_uses(plan: Plan) -> list[list[str]]:
    """For each step the values that no later step and no output needs."""
    needed = set(plan.outputs.values())
    dead: list[list[str]] = []
    for step in reversed(plan.steps):
        touched = {name for name in (*step.inputs, *step.outputs) if name is not None}
        dead.append(sorted(touched - needed))
        needed |= touched
    return dead[::-1]


def _bind(step: Step, artefact: Artefact, threads: int | None) -> Run:
    if isinstance(step, NativeStep):
        return _bind_native(step)
    blob = artefact.blob(f"segment:{step.segment}")
    segment: Segment = open_segment(artefact.header.target, blob, threads=threads)
    names = step.inputs

    def run(operands: list[Array | None]) -> list[Array]:
        return segment.run({name: array for name, array in zip(names, operands, strict=True) if array is not None})

    return run


def _bind_native(step: NativeStep) -> Run:
    module = kernels()
    kernel = getattr(module, step.op, None)
    if not callable(kernel) or isinstance(kernel, type):
        known = [name for name in dir(module) if not name.startswith("_")]
        raise FutureArtefact(
            f"the plan uses native op {step.op!r}, which this graphdet does not have",
            help=nearest(step.op, known) or "upgrade graphdet",
        )

    def run(operands: list[Array | None]) -> list[Array]:
        result = kernel(*operands, **step.attrs)
        return list(result) if isinstance(result, (tuple, list)) else [result]

    return run


def _guarded(step: Step, run: Run, operands: list[Array | None]) -> list[Array]:
    native = isinstance(step, NativeStep)
    label = step.op if isinstance(step, NativeStep) else f"segment {step.segment}"
    where = f"  {step.line}" if isinstance(step, NativeStep) and step.line else ""
    shapes = ", ".join("none" if x is None else f"{x.dtype}{list(x.shape)}" for x in operands)
    try:
        results = run(operands)
    except (GdError, MemoryError):
        raise
    except Exception as error:  # kernels and backends raise classes of their own
        raise InternalError(f"{label} failed on {shapes}: {str(error).strip()}", where=where) from error
    if len(results) != len(step.outputs):
        kind = "kernel" if native else "segment"
        raise InternalError(f"{label}: the {kind} gave {len(results)} outputs, the plan expects {len(step.outputs)}")
    return results
