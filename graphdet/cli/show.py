"""Show a detector's typed graph, what an engine file holds, or what a weights file holds."""

from __future__ import annotations

from pathlib import Path

import click

from graphdet.cli._output import emit, json_option


@click.command()
@click.argument("what", metavar="VARIANT|FILE")
@click.option(
    "--phase", type=click.Choice(("infer", "train")), default="infer", show_default=True, help="Of a variant."
)
@click.option("--summary", is_flag=True, help="Of a variant: parameters, cost, ops, taps instead of the text.")
@click.option("--graph", "as_graph", is_flag=True, help="Of an engine file: the typed graph that it was built from.")
@json_option
def command(what: str, phase: str, summary: bool, as_graph: bool, as_json: bool) -> None:
    """Show a variant of the zoo as text, or the content of a .gdet or weights file.

    \b
    Examples:
      graphdet show retinanet_r50 --summary
      graphdet show x.gdet
      graphdet show w.safetensors
    """  # noqa: D301
    from graphdet.cli import _describe

    path = Path(what)
    if not path.exists() and not path.suffix and "/" not in what:
        described = _describe.variant(what, phase, summary=summary)
    elif path.suffix == ".gdet" or _describe.is_engine(path):
        described = _describe.engine(path, as_graph=as_graph)
    else:
        described = _describe.weights(path)
    if as_json:
        emit(described.document)
    else:
        described.print()
