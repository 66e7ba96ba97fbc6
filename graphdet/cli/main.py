"""The command `graphdet`: finds the verbs by file name, loads only the one that is called, prints errors.

A verb is a file here with a click command named `command`; the first line of the file's docstring is its line of help.
Exit codes: 0 done · 1 done in part, or a difference found · 2 an error, told on stderr (with `--json` on stdout) ·
130 Ctrl-C.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from graphdet._version import __version__
from graphdet.errors import GdError, nearest

_JSON = "graphdet.json"


class Verbs(click.Group):
    """The group of all verbs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verb names, sorted."""
        return sorted(_files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a verb's file. None for an unknown name."""
        if cmd_name not in _files():
            return None
        command: click.Command = import_module(f"graphdet.cli.{_files()[cmd_name].stem}").command
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but with a suggestion for a misspelt verb."""
        name = args[0]
        if name not in _files() and not name.startswith("-"):
            hint = nearest(name, _files()) or "`graphdet --help` lists the verbs"
            raise click.UsageError(f"no verb {name!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with the first lines of their files, which are read but not run."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, _first_line(file)) for name, file in sorted(_files().items())])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember whether the output is for a machine, so that errors are too."""
        ctx.meta[_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; every error that the user can meet ends here."""
        try:
            return super().invoke(ctx)
        except GdError as error:
            _report(error, as_json=ctx.meta[_JSON])
            ctx.exit(2)
        except click.UsageError as error:
            if not ctx.meta[_JSON]:
                raise
            _print_json({"code": "usage", "message": error.format_message(), "where": "", "help": ""})
            ctx.exit(2)
        except KeyboardInterrupt:
            _interrupted(ctx)


def _interrupted(ctx: click.Context) -> NoReturn:
    click.echo("\ninterrupted: stopped at your request; files already written are complete", err=True)
    ctx.exit(130)


def _files() -> dict[str, Path]:
    """Verb name -> file. A trailing underscore keeps clear of Python's own words (`import_.py`)."""
    here = Path(__file__)
    return {
        file.stem.rstrip("_"): file
        for file in here.parent.glob("*.py")
        if file != here and not file.name.startswith("_")
    }


def _first_line(file: Path) -> str:
    doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return doc.split("\n")[0]


def _report(error: GdError, *, as_json: bool) -> None:
    """An error as text on stderr, code first, coloured on a terminal; or as JSON on stdout."""
    if as_json:
        _print_json(error.as_dict())
        return
    code, _, rest = str(error).partition(" ")
    lines = rest.split("\n")
    shown = [click.style(line, fg="green") if line.startswith("  help: ") else line for line in lines[1:]]
    shown = [click.style(line, dim=True) if line.startswith("  see docs/") else line for line in shown]
    head = f"{click.style(code, fg='red', bold=True)} {click.style(lines[0], bold=True)}"
    click.echo("\n".join([head, *shown]), err=True)


def _print_json(error: dict[str, str]) -> None:
    import json

    click.echo(json.dumps({"error": error}, ensure_ascii=False))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="`graphdet VERB --help` shows the options of a verb and an example. Every verb takes --json.",
)
@click.version_option(__version__, prog_name="graphdet")
def main() -> None:
    """Object detectors: declared once, compiled with proof, run anywhere.

    \b
    From a checkpoint to boxes:
      graphdet import yolox_nano.onnx --as yolox_nano -o w.safetensors
      graphdet compile yolox_nano --weights w.safetensors -o x.gdet
      graphdet run x.gdet photo.jpg --out found
    """  # noqa: D301  \b is click's mark for lines that keep their breaks
