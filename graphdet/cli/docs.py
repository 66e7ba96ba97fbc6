"""Write the reference pages (errors, ops, zoo) from the declarations."""

from __future__ import annotations

from pathlib import Path

import click

from graphdet.cli._output import emit, json_option, write_text


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True, help="Folder of the pages."
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when a page differs.")
@json_option
def command(out: Path, check: bool, as_json: bool) -> None:
    """Write errors.md, ops.md and zoo.md.

    \b
    Example:
      graphdet docs --check
    """  # noqa: D301
    from graphdet.cli._pages import pages

    made = pages()
    different = [name for name, text in made.items() if not _same(out / name, text)]
    if not check:
        for name in different:
            write_text(out / name, made[name])
    if as_json:
        emit({"out": str(out), "pages": list(made), "different": different, "written": not check})
    elif check:
        click.echo(
            f"out of date in {out}: {', '.join(different)}; run `graphdet docs`"
            if different
            else "all pages are up to date"
        )
    else:
        click.echo(f"written to {out}: {', '.join(different) or 'nothing, all pages are up to date'}")
    click.get_current_context().exit(1 if check and different else 0)


def _same(file: Path, text: str) -> bool:
    try:
        return file.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
