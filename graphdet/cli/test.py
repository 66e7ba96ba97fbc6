"""Score an engine on a dataset: COCO's average precision."""

from __future__ import annotations

from pathlib import Path

import click

from graphdet.cli._output import emit, facts, json_option, note, table

SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@click.command()
@click.argument("engine_file", metavar="ENGINE", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="coco:IMAGE_DIR:ANNOTATIONS.json, or scenes:COUNT[:SEED[:HxW]] (drawn).")
@click.option("--limit", type=click.IntRange(0), help="Only the first so many images.")
@click.option(
    "--batch", type=click.IntRange(1, 4096), default=1, show_default=True, help="Images in one call of the engine."
)
@click.option("--per-class", is_flag=True, help="Also print the AP of each class.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the detections as a COCO results file.")
@json_option
def command(
    engine_file: Path, data: str, limit: int | None, batch: int, per_class: bool, save: Path | None, as_json: bool
) -> None:
    """Run ENGINE (.gdet) over a dataset and print AP, AP50, AP75, APs, APm, APl in percent.

    \b
    Example:
      graphdet test x.gdet --data coco:val2017:instances_val2017.json --limit 500
    """  # noqa: D301
    from graphdet.data import parse_data
    from graphdet.errors import MissingFile
    from graphdet.eval import evaluate
    from graphdet.runtime import load

    if save is not None and not save.parent.is_dir():  # found before the work, not after it
        raise MissingFile(
            f"the folder {save.parent} does not exist", help="make it, or choose another place with --save"
        )
    dataset = parse_data(data)
    engine = load(engine_file)
    result = evaluate(engine, dataset, batch=batch, limit=limit, progress=False if as_json else None, results=save)
    code = 0 if result.complete else 130
    if as_json:
        emit({"engine": str(engine_file), "data": data, **result.as_dict()})
        click.get_current_context().exit(code)
    figures = result.figures()
    for name in SHOWN:
        click.echo(f"{name:<5} {'-' if figures[name] < 0 else f'{100 * figures[name]:.1f}':>6}")
    if per_class:
        table(("class", ">AP"), [(c, None if v < 0 else f"{100 * v:.1f}") for c, v in result.per_class.items()])
    recalls = ", ".join(f"{k} {'-' if v < 0 else f'{100 * v:.1f}'}" for k, v in figures.items() if k not in SHOWN)
    facts([("recall", recalls), ("images", result.images), ("detections", result.detections)])
    if save is not None:
        note(f"detections written to {save}")
    click.get_current_context().exit(code)
