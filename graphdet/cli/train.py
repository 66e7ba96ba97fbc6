"""Train a detector on images with boxes, or on drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphdet.cli._output import emit, facts, json_option, make_folder


def _settings(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """`name=value` pairs; values are JSON, or else text."""
    import json

    pairs: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs


@click.command()
@click.option("--detector", required=True, metavar="VARIANT", help="Detector of the zoo.")
@click.option("--data", required=True, help="Dataset: coco:IMAGES:ANNOTATIONS.json or scenes:COUNT[:SEED].")
@click.option("--held-out", default="", help="Dataset to evaluate while training.")
@click.option("--steps", type=int, help="Optimiser steps.")
@click.option("--batch", type=int, help="Images a step.")
@click.option("--lr", type=float, help="Learning rate after the warm-up.")
@click.option("--seed", type=int, help="Of initial weights, order of images and augmentation.")
@click.option("--threads", type=int, help="Threads of PyTorch.")
@click.option(
    "--set", "more", multiple=True, callback=_settings, metavar="NAME=VALUE", help="Another field of the recipe."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint in --out.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, out: Path, resume: bool, as_json: bool, more: dict[str, Any], **given: Any) -> None:
    """Train; Ctrl-C saves. Leaves weights.safetensors, log.jsonl and checkpoints in --out.

    \b
    Example:
      graphdet train --detector yolox_scenes --data scenes:3200:1 --held-out scenes:200:7 --steps 2400 --out scenes
    """  # noqa: D301
    import os

    # Threads that spin while they wait make steps several times slower wherever other programs use the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from graphdet.train import Recipe, train

    recipe = Recipe.from_dict({**{k: v for k, v in given.items() if v is not None}, **more})
    outcome = train(recipe, make_folder(out), resume=resume, progress=False if as_json else None)
    figures = outcome.result.as_dict() if outcome.result is not None else None
    report = {"weights": str(outcome.weights), "step": outcome.step, "complete": outcome.complete}
    if as_json:
        emit(report | {"evaluation": figures})
    else:
        facts(list(report.items()), title=f"trained {recipe.detector}")
        if outcome.result is not None:
            click.echo(outcome.result.table())
    if not outcome.complete:
        ctx.exit(130)
