"""Look at a dataset: check every record and image, count, or browse it as a page of pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphdet.cli._output import emit, facts, json_option, make_folder, note, table

if TYPE_CHECKING:
    from numpy.random import Generator

    from graphdet.data import Dataset, Sample


@click.group()
def command() -> None:
    """Check, count and browse datasets.

    \b
    A dataset is named by one string:
      coco:IMAGE_DIR:ANNOTATIONS.json   panoptic:IMAGE_DIR:ANNOTATIONS.json
      voc:FOLDER[:SPLIT]                yolo:IMAGE_DIR:NAMES.txt
      folder:IMAGE_DIR                  scenes:COUNT[:SEED]    python:MODULE:FUNCTION
    Append #cat,dog or #@names.txt for some classes, ` with FILE.json` for proposals; write 3*... to repeat, A + B to
    join, A & B to join and score apart.
    """  # noqa: D301


@command.command()
@click.argument("data")
@json_option
@click.pass_context
def check(ctx: click.Context, data: str, as_json: bool) -> None:
    """Read every record and decode every image of DATA; print what cannot be used. Exit code 1 where there is any."""
    from graphdet.data import parse_data
    from graphdet.data.check import problems

    dataset = parse_data(data)
    found = problems(dataset)
    if as_json:
        emit({"data": data, "images": len(dataset), "problems": found})
    else:
        for line in found:
            click.echo(line)
        facts([("images", len(dataset)), ("classes", len(dataset.classes)), ("problems", len(found))])
    ctx.exit(1 if found else 0)


@command.command()
@click.argument("data")
@json_option
def stats(data: str, as_json: bool) -> None:
    """Count images, objects, sizes and classes of DATA."""
    from graphdet.data import parse_data
    from graphdet.data.check import statistics

    found = statistics(parse_data(data))
    if as_json:
        emit(found)
        return
    rows: list[dict[str, Any]] = found.pop("per_class")
    facts([(name.replace("_", " "), value) for name, value in found.items()])
    heads = ("class", ">images", ">objects", ">crowd", ">small", ">medium", ">large", ">median side")
    table(heads, [tuple(row.values()) for row in rows])


@command.command()
@click.argument("data")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for index.html.")
@click.option("--count", type=click.IntRange(1), default=60, show_default=True, help="Images, spread over the dataset.")
@click.option("--recipe", help="Show what this recipe's transforms make of them.")
@click.option("--seed", type=int, default=0)
def browse(data: str, output: Path, count: int, recipe: str | None, seed: int) -> None:
    """Write pictures of DATA with their boxes, or their panoptic segments, as one page.

    \b
    Example:
      graphdet data browse voc:VOC2007:train -o pages --recipe yolox_finetune
    """  # noqa: D301
    import html

    import cv2
    import numpy as np

    from graphdet.data import CocoPanoptic, parse_data
    from graphdet.data.transforms import apply
    from graphdet.draw import draw_panoptic, draw_truth
    from graphdet.train.recipes import fields_of

    dataset, changes = parse_data(data), fields_of(recipe)["transforms"] if recipe else ()
    folder = make_folder(output)
    places = np.unique(np.linspace(0, max(0, len(dataset) - 1), min(count, len(dataset))).astype(int))
    cards = []
    for place in places.tolist():
        rng = np.random.default_rng([seed, place])
        draw = partial(_any, dataset, rng)
        sample = apply(changes, dataset.sample(place), rng, draw)
        name = f"{place:06d}.jpg"
        if isinstance(dataset, CocoPanoptic) and not changes:
            drawn = draw_panoptic(sample.pixels(), dataset.segments.panoptic(sample.id))
        else:
            drawn = draw_truth(sample.pixels(), sample.truth, dataset.classes)
        cv2.imwrite(str(folder / name), drawn)
        source = sample.image if isinstance(sample.image, Path) else ""
        text = html.escape(f"{place} · {len(sample.truth)} objects · {source}")
        cards.append(f'<figure><img src="{name}" loading="lazy"><figcaption>{text}</figcaption></figure>')
    style = "body{font:14px sans-serif;margin:1em}figure{display:inline-block;margin:4px}img{max-width:420px}"
    page = f'<!doctype html><meta charset="utf-8"><title>{html.escape(data)}</title><style>{style}</style>'
    (folder / "index.html").write_text(page + f"<h1>{html.escape(data)}</h1>" + "\n".join(cards), encoding="utf-8")
    note(f"{len(cards)} images written to {folder / 'index.html'}")


def _any(dataset: Dataset, rng: Generator) -> Sample:
    return dataset.sample(int(rng.integers(len(dataset))))
