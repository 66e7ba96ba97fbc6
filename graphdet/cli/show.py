"""Show a detector's typed graph, what an engine or weights file holds, or panoptic segments as pictures."""

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
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Of panoptic segments: folder for pictures of them, with class names.",
)
@click.option(
    "--images", type=click.Path(path_type=Path), help="Of panoptic segments: the folder of photos to draw them on."
)
@json_option
def command(
    what: str, phase: str, summary: bool, as_graph: bool, out: Path | None, images: Path | None, as_json: bool
) -> None:
    """Show a variant of the zoo as text, the content of a .gdet or weights file, or panoptic segments.

    Panoptic segments are a json in COCO's format, of annotations or as `graphdet run --panoptic-out` writes it, with
    its PNGs beside it.

    \b
    Examples:
      graphdet show retinanet_r50 --summary
      graphdet show x.gdet
      graphdet show w.safetensors
      graphdet show found/panoptic.json --images val2017/ --out pictures
    """  # noqa: D301
    from graphdet.cli import _describe

    path = Path(what)
    if not path.exists() and not path.suffix and "/" not in what:
        described = _describe.variant(what, phase, summary=summary)
    elif path.suffix == ".gdet" or _describe.is_engine(path):
        described = _describe.engine(path, as_graph=as_graph)
    elif path.suffix == ".json":
        described = _describe.segments(path, images, out)
    else:
        described = _describe.weights(path)
    if as_json:
        emit(described.document)
    else:
        described.print()
