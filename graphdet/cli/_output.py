"""What verbs share: the `--json` option, tables for people, JSON for machines, and texts of numbers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphdet.records import Detections

F = TypeVar("F", bound=Callable[..., Any])
_WIDE = 200  # columns of a table that goes to a file or a pipe


def json_option(command: F) -> F:
    """Add `--json`; the command gets it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")(command)


def emit(document: object) -> None:
    """Print a JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """A remark on stderr, where it disturbs no result."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """A warning on stderr."""
    click.echo(f"{click.style('warning', fg='yellow', bold=True)} {text}", err=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
    """Print a table. A column whose name starts with `>` is aligned to the right; None is shown as a dash."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        click.secho(title, bold=True)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(
            Text(column.removeprefix(">")), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if terminal else _WIDE, highlight=False)
    with console.capture() as captured:
        console.print(made)
    lines = [line.rstrip() for line in captured.get().split("\n")]
    click.echo("\n".join(line for line in lines if line))


def facts(pairs: Sequence[tuple[str, object]], *, title: str = "") -> None:
    """Print names and values, one a line."""
    if title:
        click.secho(title, bold=True)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"  {click.style(name.ljust(width), dim=True)}  {'-' if value is None else value}")


def detections_table(found: Detections, title: str) -> None:
    """One row an object: class, score, box in pixels of the image."""
    boxes = [" ".join(f"{v:7.1f}" for v in box) for box in found.boxes.tolist()]
    cells = zip(found.labels.tolist(), found.scores.tolist(), boxes, strict=True)
    table(
        ("class", ">score", ">x1      y1      x2      y2"),
        [(found.name(i), f"{s:.3f}", b) for i, s, b in cells],
        title=title,
    )


@contextmanager
def progress(text: str, total: int, *, shown: bool = True) -> Iterator[Callable[[], None]]:
    """A bar on stderr where that is a terminal; call what it gives once a step."""
    if not shown or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Tables go above the bar where both are on the terminal, and never into stderr where stdout is a file.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def write_text(path: Path, text: str) -> None:
    """Write a file, making its folder. Raises MissingFile when that is impossible."""
    from graphdet.errors import MissingFile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise MissingFile(f"cannot write {path}: {fault.strerror}", help="choose another place with --out") from None


def make_folder(path: Path) -> Path:
    """The folder, made where it is absent. Raises MissingFile when that is impossible."""
    from graphdet.errors import MissingFile

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise MissingFile(
            f"cannot make the folder {path}: {fault.strerror}", help="choose another with --out"
        ) from None
    return path


def bytes_text(count: int) -> str:
    """A size such as `3.7 MB`."""
    size, unit = float(count), "B"
    for bigger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, bigger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def million(count: float) -> str:
    """In millions, two digits."""
    return f"{count / 1e6:.2f}"


def billion(count: float) -> str:
    """In thousand millions, two digits."""
    return f"{count / 1e9:.2f}"
