"""Look at the logs of training runs: curves as a picture, and times."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

import click

from graphdet.cli._output import emit, json_option, note, table


@click.group()
def command() -> None:
    """Read log.jsonl of one or several runs."""


@command.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Picture: .png, .svg or .pdf.")
@click.option("--keys", default="loss,AP", show_default=True, help="Terms and figures, separated by commas.")
@click.option("--smooth", type=click.IntRange(1), default=1, help="Mean over so many steps.")
def plot(runs: tuple[Path, ...], output: Path, keys: str, smooth: int) -> None:
    """Draw the course of terms and figures; a panel a key, a line a run.

    \b
    Example:
      graphdet log plot runs/a runs/b --keys loss_cls,loss_bbox,AP50 -o curves.png
    """  # noqa: D301
    from graphdet.draw.curves import plot_lines
    from graphdet.errors import BadInput, nearest

    courses = {run.name or str(run): _course(run, smooth) for run in runs}
    known = sorted({key for course in courses.values() for key in course})
    panels = {}
    for key in (k.strip() for k in keys.split(",")):
        lines = {name: course[key] for name, course in courses.items() if key in course}
        if lines:
            panels[key] = lines
        elif keys != "loss,AP":  # the default holds figures that a run without evaluation does not have
            raise BadInput(f"the logs hold no {key!r}", help=nearest(key, known) or f"known: {', '.join(known)}")
    plot_lines(output, panels, x="step")
    note(f"written to {output}")


@command.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def time(runs: tuple[Path, ...], as_json: bool) -> None:
    """Seconds a step: median, slowest and fastest epoch, and their spread, without the first steps; most memory."""
    rows = []
    for run in runs:
        steps = [line for line in _lines(run) if "seconds" in line]
        kept = steps[min(5, len(steps) - 1) :]
        epochs: dict[int, list[float]] = {}
        for line in kept:
            epochs.setdefault(int(max(0.0, line["epoch"] - 1e-6)), []).append(line["seconds"])
        means = [fmean(e) for e in epochs.values()]
        seconds = median(line["seconds"] for line in kept)
        figures = {"median": seconds, "slowest_epoch": max(means), "fastest_epoch": min(means)}
        memory = max((line.get("memory", 0) for line in steps), default=0)
        rows.append({"run": str(run), "steps": len(steps), **figures, "deviation": pstdev(means), "memory": memory})
    if as_json:
        emit(rows)
        return
    heads = ("run", ">steps", ">s/step", ">slowest epoch", ">fastest epoch", ">deviation", ">MiB")
    table(heads, [tuple(v if isinstance(v, str | int) else f"{v:.4f}" for v in row.values()) for row in rows])


def _lines(run: Path) -> list[dict[str, Any]]:
    import json

    from graphdet.errors import BadInput, MissingFile

    file = run / "log.jsonl" if run.is_dir() else run
    if not file.is_file():
        raise MissingFile(f"there is no log {str(file)!r}")
    lines = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines() if text.endswith("}")]
    if not any("loss" in line for line in lines):
        raise BadInput(f"{file} holds no step yet")
    return lines


def _course(run: Path, smooth: int) -> dict[str, tuple[list[float], list[float]]]:
    """Name -> (steps, values); losses and the like as means over so many steps, figures as they are."""
    course: dict[str, tuple[list[float], list[float]]] = {}
    recent: dict[str, deque[float]] = {}
    for line in _lines(run):
        figures = {k: v for k, v in line.get("evaluation", {}).items() if isinstance(v, float) and v >= 0}
        terms = {k: v for k, v in line.items() if k not in ("step", "evaluation", "note")}
        for name, value in terms.items():
            recent.setdefault(name, deque(maxlen=smooth)).append(value)
        means = {name: fmean(recent[name]) for name in terms}
        for name, value in {**means, **figures}.items():
            xs, ys = course.setdefault(name, ([], []))
            xs.append(line["step"])
            ys.append(value)
    return course
