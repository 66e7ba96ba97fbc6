"""Time an engine by stage, or the kernels on the worst input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphdet.cli._output import emit, json_option, table


@click.command()
@click.argument("engine_file", metavar="ENGINE", type=click.Path(path_type=Path), required=False)
@click.option("--images", type=click.Path(path_type=Path), help="Image or folder to run on.  [default: a drawn scene]")
@click.option("--rounds", type=click.IntRange(1), default=50, show_default=True, help="Counted rounds.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the network.  [default: the backend's choice]")
@click.option("--worst-case", is_flag=True, help="Instead: selection kernels on inputs that nothing filters.")
@json_option
def command(
    engine_file: Path | None, images: Path | None, rounds: int, threads: int | None, worst_case: bool, as_json: bool
) -> None:
    """Measure ENGINE (.gdet): pre-processing, each step of its plan, and the whole call, in milliseconds.

    Reading and decoding image files is not counted. Compare figures of one machine and one run only.

    \b
    Example:
      graphdet bench x.gdet --images photo.jpg --rounds 100
      graphdet bench --worst-case
    """  # noqa: D301
    from graphdet.eval import speed
    from graphdet.runtime import load

    if worst_case:
        _show(speed.summary(speed.worst_case()), "worst case", as_json)
        return
    if engine_file is None:
        raise click.UsageError("give an ENGINE file, or --worst-case")
    engine = load(engine_file, threads=threads)
    pictures = _pictures(images, engine.header.input.batch or 1)
    _show(speed.summary(speed.latency(engine, pictures, rounds)), str(engine_file), as_json)


def _pictures(images: Path | None, count: int) -> list[Any]:
    import numpy as np

    from graphdet.cli._images import find_images
    from graphdet.data import read_image
    from graphdet.data.scenes import scene

    if images is None:
        return [scene(np.random.default_rng(i), size=(480, 640))[0] for i in range(count)]
    files = find_images((images,))
    return [read_image(files[i % len(files)]) for i in range(count)]


def _show(found: dict[str, dict[str, float]], title: str, as_json: bool) -> None:
    if as_json:
        emit({"bench": title, "milliseconds": found})
        return
    rows = [(name, *(f"{row[k]:.2f}" for k in ("median", "p90", "p99", "least"))) for name, row in found.items()]
    table(("stage", ">median ms", ">p90", ">p99", ">least"), rows, title=title)
