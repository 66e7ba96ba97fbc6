"""Train a detector, from a recipe, on images with boxes or on drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphdet.cli._output import emit, facts, json_option, make_folder

if TYPE_CHECKING:
    from graphdet.train import Recipe


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
@click.argument("detector", required=False, metavar="[VARIANT]")
@click.option("--recipe", metavar="NAME|FILE", help="A shipped recipe, or a .json file of one.")
@click.option("--data", help="Dataset; see `graphdet data --help` for the forms.")
@click.option("--held-out", help="Dataset to evaluate while training.")
@click.option("--weights", help="File to start from; a head for other classes is made anew.")
@click.option("--epochs", type=float, help="Passes over the data.")
@click.option("--steps", type=int, help="Optimiser steps, instead of epochs.")
@click.option("--batch", type=int, help="Images a step, of all processes together.")
@click.option("--lr", type=float, help="Learning rate after the warm-up.")
@click.option("--seed", type=int, help="Of initial weights, order of images and augmentation.")
@click.option("--threads", type=int, help="Threads of PyTorch.")
@click.option(
    "--set", "more", multiple=True, callback=_settings, metavar="NAME=VALUE", help="Any field: schedule=Step."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option(
    "--resume", is_flag=False, flag_value="yes", type=click.Choice(["yes", "auto"]),
    help="Go on from the newest checkpoint in --out; `auto`: or start.",
)  # fmt: skip
@click.option("--show", is_flag=True, help="Print the recipe and stop.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, /, out: Path, resume: str | None, show: bool, as_json: bool, more: dict[str, Any], **given: Any
) -> None:
    """Train VARIANT; Ctrl-C saves. Leaves weights.safetensors, log.jsonl and checkpoints in --out.

    \b
    Examples:
      graphdet train yolox_scenes --recipe scenes --data scenes:3200:1 --held-out scenes:200:7 --out scenes
      graphdet train yolox_nano --recipe yolox_finetune --weights yolox_nano.onnx --data voc:BCCD:train \\
        --held-out voc:BCCD:val --set optimiser.lr=0.002 --out bccd
      graphdet train --out bccd --resume
    """  # noqa: D301
    import os

    # Threads that spin while they wait make steps several times slower wherever other programs use the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from graphdet.train import train

    recipe = _recipe(given, more, out if resume else None)
    if show:
        emit(recipe.as_dict())
        return
    outcome = train(recipe, make_folder(out), resume=_RESUME[resume], progress=False if as_json else None)
    if os.environ.get("RANK", "0") != "0":  # of several processes, the first one reports
        return
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


_RESUME: dict[str | None, Any] = {None: False, "yes": True, "auto": "auto"}


def _recipe(given: dict[str, Any], more: dict[str, Any], run: Path | None) -> Recipe:
    """The recipe of the options: on top of the one that --recipe names, or of the run that is to be resumed."""
    import json

    from graphdet.errors import BadRecipe, MissingFile
    from graphdet.train import Recipe
    from graphdet.train.recipes import RECIPES, fields_of

    named, rate = given.pop("recipe"), given.pop("lr")
    if named is None and run is not None and given["detector"] is None:
        from graphdet.train import checkpoint

        base: dict[str, Any] = checkpoint.load(run).recipe
    elif named is None or named in RECIPES or not named.endswith(".json"):
        base = {} if named is None else fields_of(named)
    elif not Path(named).is_file():
        raise MissingFile(f"recipe file {named!r} does not exist")
    else:
        base = json.loads(Path(named).read_text(encoding="utf-8"))
    base |= {name: value for name, value in given.items() if value is not None}
    if "detector" not in base or "data" not in base:
        raise BadRecipe("the recipe names no detector, or no data", help="graphdet train VARIANT --data ...")
    return Recipe.from_dict(base).with_fields(more if rate is None else {"optimiser.lr": rate, **more})
