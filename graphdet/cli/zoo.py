"""List the detectors of the zoo."""

from __future__ import annotations

import click

from graphdet.cli._build import TARGETS
from graphdet.cli._output import billion, emit, json_option, million, note, table

COLUMNS = ("name", ">params M", ">GFLOPs", ">size", ">AP", "targets", "certified", "parity", "paper")


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List every variant: parameters, cost of one image at its test size, published AP, targets, state, paper.

    \b
    Example:
      graphdet zoo --json
    """  # noqa: D301
    from graphdet.cli._variants import all_facts

    found = all_facts()
    if as_json:
        emit([f.as_dict() for f in found])
        return
    rows = [
        (
            f.name,
            million(f.parameters),
            billion(f.multiply_adds),
            f"{f.size[0]}x{f.size[1]}",
            f.ap,
            "all" if f.targets == TARGETS else " ".join(f.targets),
            "all" if f.certified == TARGETS else " ".join(f.certified),
            f.parity,
            citation(f.paper),
        )
        for f in found
    ]
    table(COLUMNS, rows)
    note(
        "GFLOPs: 1e9 multiply-adds for one image. AP: box AP on COCO val2017 as the reference reports it. "
        "Certified: engines found equal to the graph, at two sizes and batches 1 and 4. "
        "Parity: stages, detections, losses and gradients compared with the reference's."
    )


def citation(paper: str) -> str:
    """The part in brackets at the end of a detector's first line: authors, year, number."""
    return paper.rstrip(".").rpartition("(")[2].rstrip(")")
