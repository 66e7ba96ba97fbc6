"""Compare two detectors or engines as graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphdet.cli._output import emit, facts, json_option

if TYPE_CHECKING:
    from graphdet.ir import Graph

COLOURS = {"-": "red", "+": "green", "~": "yellow"}


@click.command()
@click.argument("first", metavar="VARIANT|ENGINE")
@click.argument("second", metavar="VARIANT|ENGINE")
@click.option("--phase", type=click.Choice(("infer", "train")), default="infer", show_default=True, help="Of variants.")
@json_option
def command(first: str, second: str, phase: str, as_json: bool) -> None:
    """Print the nodes that only one of two graphs has: `-` the first, `+` the second, `~` other operands.

    Of two engines, differing thresholds, classes and pre-processing are listed too. Exits with 1 when they differ.

    \b
    Example:
      graphdet diff yolox_s yolox_m
    """  # noqa: D301
    from graphdet.ir import diff

    settings = _settings(first, second)
    lines = diff(graph_of(first, phase), graph_of(second, phase))
    if as_json:
        emit({"equal": not lines and not settings, "lines": lines, "settings": settings})
    else:
        for line in lines:
            click.secho(line, fg=COLOURS.get(line[:1]))
        facts([(name, f"{a} | {b}") for name, (a, b) in settings.items()])
        if not lines and not settings:
            click.echo(f"{first} and {second} are equal")
    click.get_current_context().exit(1 if lines or settings else 0)


def graph_of(what: str, phase: str) -> Graph:
    """The graph of a variant, or of an engine file. Raises UnknownName, MissingFile, and what a damaged file raises."""
    from graphdet import zoo
    from graphdet.ir import trace

    if not _is_file(what):
        return trace(zoo.get(what), phase)
    from graphdet.compiler import graph_of as stored_graph
    from graphdet.runtime import read_artefact

    return stored_graph(read_artefact(what))


def _is_file(what: str) -> bool:
    return Path(what).exists() or what.endswith(".gdet") or "/" in what


def _settings(first: str, second: str) -> dict[str, tuple[object, object]]:
    """What two engine files say differently beside their graphs."""
    if not (_is_file(first) and _is_file(second)):
        return {}
    from graphdet.runtime import read_artefact

    a, b = (read_artefact(path).header.as_dict() for path in (first, second))
    names = ("detector", "target", "input", "thresholds", "classes", "preprocess", "clip")
    return {name: (a[name], b[name]) for name in names if a[name] != b[name]}
