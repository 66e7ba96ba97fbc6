"""What the tables of the zoo say about a variant."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphdet.ir import Graph, Variant


@dataclass(frozen=True)
class Facts:
    """One line of the zoo's table.

    parameters: learned numbers · multiply_adds: at `size`, one image · ap: box AP on COCO that the reference reports ·
    by_phase: nodes of the inference graph that training declares in another form · targets: what it can be compiled
    to · certified: those on which it was, whole, at two sizes and batches 1 and 4, with the graph that it has now ·
    parity: whether it was found equal to the reference in stages, detections, losses and gradients: `passed`,
    `outdated` where its graph is another since then, `unrecorded` where none passed.
    """

    name: str
    paper: str
    parameters: int
    multiply_adds: int
    size: tuple[int, int]
    classes: int
    ap: float | None
    upstream: str
    by_phase: int
    targets: tuple[str, ...]
    certified: tuple[str, ...]
    parity: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@cache
def all_facts() -> tuple[Facts, ...]:
    """The facts of every variant of the zoo, in its order."""
    from graphdet import zoo

    return tuple(map(facts_of, zoo.variants().values()))


def facts_of(variant: Variant) -> Facts:
    """Trace a variant and count."""
    from graphdet.compiler.build import canvas
    from graphdet.compiler.cost import cost, count_parameters, total
    from graphdet.ir.detector import trace_phases

    graph, by_phase = trace_phases(variant)
    height, width = size = canvas(variant)
    return Facts(
        name=variant.name,
        paper=variant.paper,
        parameters=count_parameters(graph),
        multiply_adds=total(cost(graph, {"N": 1, "H": height, "W": width})),
        size=size,
        classes=len(variant.row.classes),
        ap=variant.row.ap,
        upstream=variant.row.upstream,
        by_phase=by_phase,
        targets=targets_of(graph),
        certified=certified_of(graph),
        parity=parity_of(graph),
    )


@cache
def recorded(name: str) -> dict[str, dict[str, Any]]:
    """What tests recorded: by variant the hash of the graph that passed, and the case or the targets.

    name: `parity` (tests/parity) or `certificates` (tests/compiler/test_certify.py).
    """
    found: dict[str, dict[str, Any]] = json.loads(files("graphdet.zoo").joinpath(f"{name}.json").read_text("utf-8"))
    return found


def certified_of(graph: Graph) -> tuple[str, ...]:
    """The targets on which a variant's inference graph was certified."""
    record = recorded("certificates").get(graph.name)
    return tuple(record["targets"]) if record and record["graph"] == graph.hash else ()


def parity_of(graph: Graph) -> str:
    """The state of a variant's inference graph: `passed`, `outdated` or `unrecorded`."""
    record = recorded("parity").get(graph.name)
    return "unrecorded" if record is None else "passed" if record["graph"] == graph.hash else "outdated"


def targets_of(graph: Graph) -> tuple[str, ...]:
    """The targets that have every op of an inference graph, in a segment or as a kernel of the runtime."""
    from graphdet.compiler.backends.target import TARGETS, find_target
    from graphdet.ir.walk import LEAVES

    ops = {node.name: node.op for node in graph.nodes if node.name not in LEAVES}
    found = []
    for name in TARGETS:
        target = find_target(name)
        if all(target.dense(op) or (not target.selection and op.native_name) for op in ops.values()):
            found.append(name)
    return tuple(found)
