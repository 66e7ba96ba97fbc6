"""The reference pages that are written from the declarations: errors, ops, zoo."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from graphdet.cli._output import billion, million

if TYPE_CHECKING:
    from graphdet.ir import Op

MADE = "<!-- written by `graphdet docs`; change the declarations, not this page -->"
FAMILIES = {
    "GD1": "Declaration",
    "GD2": "Types and frames",
    "GD3": "Compile",
    "GD4": "Engines",
    "GD5": "Data and weights",
}


def pages() -> dict[str, str]:
    """File name -> content."""
    return {"errors.md": errors(), "known-bad.md": known_bad(), "ops.md": ops(), "zoo.md": zoo()}


def errors() -> str:
    """Every error class by code, with its docstring."""
    import inspect

    from graphdet.errors import catalogue

    known = [error for error in catalogue() if error.__module__ == "graphdet.errors"]
    parts = [
        "# Errors",
        MADE,
        "Every message starts with a code. The sections below say what it means and how to mend it.",
    ]
    for prefix, group in groupby(known, key=lambda error: error.code[:3]):
        parts.append(f"## {FAMILIES.get(prefix, 'Faults of the library')}")
        for error in group:
            parts += [
                f'<a id="{error.code.lower()}"></a>',
                f"### {error.code} {error.__name__}",
                inspect.getdoc(error) or "",
            ]
    return _join(parts)


def ops() -> str:
    """Every op by family: signature, meaning, traits, and the form it has on each target."""
    import graphdet.ops  # noqa: F401  fills the table of ops
    from graphdet.ir.op import OPS, TRAITS

    parts = [
        "# Ops",
        MADE,
        "Signatures read `operands -> results`; dims are names, numbers and expressions of attributes.",
    ]
    parts.append("\n".join(f"- `{name}`: {text}" for name, text in TRAITS.items()))
    shown = [op for op in OPS.values() if op.module.startswith("graphdet.ops")]
    for module, group in groupby(sorted(shown, key=lambda op: (op.module, op.name)), key=lambda op: op.module):
        parts.append(f"## {module.rpartition('.')[2]}")
        parts += [text for op in group for text in _op(op)]
    return _join(parts)


def _op(op: Op[..., Any]) -> list[str]:
    attributes = ", ".join(k if _required(v) else f"{k}={v!r}" for k, v in op.defaults.items())
    lines = [f"- attributes: `{attributes}`"] if attributes else []
    if op.traits:
        lines.append(f"- traits: {', '.join(f'`{t}`' for t in sorted(op.traits))}")
    forms = [name for name in ("reference", "torch", "onnx", "decompose", "flops") if name in op.rules]
    lines.append(f"- has: {', '.join([*forms, *([f'native kernel `{op.native_name}`'] if op.native_name else [])])}")
    lines += [f"- not on {target}: {reason}" for target, reason in op.absences.items()]
    return [f"### {op.name}", f"```\n{op.name}: {op.signature}\n```", op.doc, "\n".join(lines)]


def _required(default: Any) -> bool:
    import inspect

    return default is inspect.Parameter.empty


def known_bad() -> str:
    """The table of operators that backends get wrong."""
    from graphdet.compiler.known_bad import TABLE

    note = (
        "What a backend is known to get wrong, as a test reproduces with the version given, or as the source reports. "
        "An engine runs such a node on its own kernel or in simpler ops; where it has neither, the build is refused. "
        "`graphdet explain` lists the nodes of a detector that this concerns."
    )
    rows = [(f"`{r.operator}`", r.condition, r.target, r.version, r.effect, r.source or "a test") for r in TABLE]
    columns = ("ONNX operator", "with", "target", "version", "effect", "known from")
    return _join(["# Known faults of backends", MADE, note, _table(columns, rows)])


def zoo() -> str:
    """The table of variants."""
    from graphdet.cli._variants import all_facts

    note = (
        "AP: box AP on COCO val2017 as the reference configuration reports it. GFLOPs: 1e9 multiply-adds for one image "
        "at the test size. by_phase: nodes of the inference graph that training declares in another form. certified: "
        "the targets whose engines `make certificates` found equal to the graph, at two sizes and batches 1 and 4; of "
        "variants with the same ops one stands for all. parity: stages, detections, losses and gradients beside the "
        "reference's, as `make parity` recorded it."
    )
    parts = ["# Zoo", MADE, note]
    columns = (
        "name",
        "params (M)",
        "GFLOPs",
        "test size",
        "classes",
        "AP",
        "by_phase",
        "targets",
        "certified",
        "parity",
        "reference",
    )
    for paper, group in groupby(all_facts(), key=lambda f: f.paper):
        rows: list[tuple[object, ...]] = []
        for f in group:
            size = f"{f.size[0]}x{f.size[1]}"
            figures = (
                million(f.parameters),
                billion(f.multiply_adds),
                size,
                f.classes,
                "" if f.ap is None else f.ap,
                f.by_phase,
            )
            certified = "all" if f.certified == f.targets else ", ".join(f.certified)
            upstream = f"`{f.upstream}`" if f.upstream else ""
            rows.append((f"`{f.name}`", *figures, ", ".join(f.targets), certified, f.parity, upstream))
        parts += [f"## {paper.partition(':')[0]}", paper, _table(columns, rows)]
    return _join(parts)


def _table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(columns)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
