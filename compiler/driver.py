"""Run the passes of a pipeline, verify the graph between them, and keep what each did and refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from graphdet.compiler.context import Context
from graphdet.compiler.known_bad import KnownBad
from graphdet.compiler.pipeline import OPTIMISE
from graphdet.errors import GdError, PassFailure
from graphdet.ir.check import verify
from graphdet.ir.graph import Graph, Node
from graphdet.records import Array

Report = Callable[[str], None]


@dataclass(frozen=True)
class PassRecord:
    """What one pass did. refusals: (reason, declaring line, how often)."""

    name: str
    arrow: str
    changed: int
    before: int
    after: int
    seconds: float
    refusals: tuple[tuple[str, str, int], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        refusals = [{"reason": r, "line": line, "count": n} for r, line, n in self.refusals]
        return {
            "pass": self.name, "arrow": self.arrow, "rewrites": self.changed, "nodes_before": self.before,
            "nodes_after": self.after, "seconds": round(self.seconds, 4), "refusals": refusals,
        }  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """The optimised graph and the record of every pass, in order; nodes that the target is known to get wrong."""

    graph: Graph
    passes: tuple[PassRecord, ...] = field(default=())
    avoided: Mapping[Node, KnownBad] = field(default_factory=dict)


def optimise(
    graph: Graph,
    params: Mapping[str, Array],
    sizes: Mapping[str, int],
    *,
    passes: Iterable[str] = OPTIMISE,
    report: Report | None = None,
) -> Explanation:
    """Run passes over an inference graph.

    Raises PassFailure if one breaks the graph: a fault of the pass, not of the user.
    """
    verify(graph)
    records = []
    context = Context(params, sizes)
    for name in passes:
        if report:
            report(name)
        module = import_module(f"graphdet.compiler.passes.{name}")
        context.rewrites = 0
        context.refusals.clear()
        start = time.perf_counter()
        after: Graph = module.run(graph, context)
        _check(name, graph, after, sizes)
        refusals = tuple((reason, line, n) for (reason, line), n in context.refusals.items())
        arrow = (module.__doc__ or "").strip().split("\n")[0]
        seconds = time.perf_counter() - start
        records.append(PassRecord(name, arrow, context.rewrites, len(graph.nodes), len(after.nodes), seconds, refusals))
        graph = after
    return Explanation(graph, tuple(records))


def _check(name: str, before: Graph, after: Graph, sizes: Mapping[str, int]) -> None:
    """The graph still verifies, and its interface is the same but for bound sizes."""
    try:
        verify(after)
    except GdError as error:
        raise PassFailure(f"pass {name} broke {before.name}: {error.message}", where=error.where) from error
    if list(before.inputs) != list(after.inputs) or list(before.outputs) != list(after.outputs):
        raise PassFailure(f"pass {name} changed the inputs or outputs of {before.name}")
    for key, value in after.outputs.items():
        expected = before.outputs[key].type.substitute(sizes)
        if value.type.substitute(sizes) != expected:
            raise PassFailure(f"pass {name} changed the type of output {key!r} from {expected} to {value.type}")


def bound_sizes(size: tuple[int, int] | None, batch: int | None) -> dict[str, int]:
    """The symbols that a build fixes: H and W, and N; None leaves them open."""
    sizes = {} if size is None else {"H": size[0], "W": size[1]}
    return sizes if batch is None else {"N": batch, **sizes}
