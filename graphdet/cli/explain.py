"""Tell what every compiler pass did to a detector, and why a rewrite did not fire."""

from __future__ import annotations

from typing import Any

import click

from graphdet.cli._build import Dynamic, Size, build_options
from graphdet.cli._output import emit, json_option, table


@click.command()
@click.argument("variant_name", metavar="VARIANT")
@build_options
@json_option
def command(variant_name: str, target: str, size: Size | None, batch: int | Dynamic, as_json: bool) -> None:
    """Run the compiler's passes on VARIANT with its initial weights, and list rewrites and refusals pass by pass.

    \b
    Example:
      graphdet explain retinanet_r50 --target openvino
    """  # noqa: D301
    from graphdet import zoo
    from graphdet.compiler import explain

    options: dict[str, Any] = {"size": size, "batch": batch, "target": target}
    explanation = explain(zoo.get(variant_name), **options)
    passes = explanation.passes
    avoided = [(node.name, str(row), node.place) for node, row in explanation.avoided.items()]
    if as_json:
        known_bad = [{"op": op, "fault": fault, "line": place} for op, fault, place in avoided]
        document = {"detector": variant_name, "target": target, "passes": [p.as_dict() for p in passes]}
        emit({**document, "known_bad": known_bad})
        return
    rows = [(p.name, p.changed, p.before, p.after, f"{1000 * p.seconds:.0f}") for p in passes]
    table(("pass", ">rewrites", ">nodes before", ">after", ">ms"), rows, title=f"{variant_name} for {target}")
    refused = [(p.name, count, reason, place) for p in passes for reason, place, count in p.refusals]
    if refused:
        table(("pass", ">times", "did not fire because", "at"), refused)
    else:
        click.echo("every rewrite that was tried fired")
    if avoided:
        table(("op", "kept away from the target because", "at"), avoided)
