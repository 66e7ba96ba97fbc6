"""The command itself: help without heavy modules, errors for people and machines, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from graphdet._version import __version__
from graphdet.cli import main as cli
from graphdet.errors import BadInput
from tests.cli.conftest import Run, document

VERBS = ("compile", "demo", "diff", "docs", "doctor", "explain", "import", "run", "show", "test", "train", "zoo")
HEAVY = ("numpy", "torch", "onnx", "onnxruntime", "cv2", "openvino", "rich", "networkx", "pycocotools", "safetensors")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = f"""
import sys
from graphdet.cli.main import main
main({words!r}, prog_name="graphdet", standalone_mode=False)
print("loaded", [name for name in {HEAVY!r} if name in sys.modules])
"""
    assert python(code).splitlines()[-1] == "loaded []"


def test_help_lists_every_verb_with_its_line(run: Run) -> None:
    shown = run("--help")
    assert shown.exit_code == 0
    for verb in VERBS:
        line = next(line for line in shown.stdout.splitlines() if line.split()[:1] == [verb])
        assert len(line.split()) > 3


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_and_json(run: Run, verb: str) -> None:
    shown = run(verb, "--help").stdout
    assert "Example" in shown
    assert f"graphdet {verb}" in shown
    assert "--json" in shown


def test_python_dash_m(run: Run) -> None:
    done = subprocess.run([sys.executable, "-m", "graphdet", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").stdout == f"graphdet, version {__version__}\n"


def test_a_misspelt_verb_is_corrected(run: Run) -> None:
    done = run("imprt")
    assert done.exit_code == 2
    assert "did you mean 'import'?" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "yolox_nan"), "GD212"),
        (("show", "no/such/file.safetensors"), "GD520"),
        (("run", "none.gdet", "a.jpg", "--out", "x"), "GD520"),
        (("test", "none.gdet", "--data", "cocoo:a:b"), "GD510"),
        (("test", "none.gdet", "--data", "scenes:2"), "GD520"),
        (("diff", "yolox_s", "yolox_q"), "GD212"),
        (("diff", "yolox_s", "none.gdet"), "GD520"),
        (("explain", "yolo"), "GD212"),
        (("import", "none.onnx", "--as", "yolox_nano", "-o", "w.safetensors"), "GD520"),
        (("import", "none.onnx", "--as", "nano", "-o", "w.safetensors"), "GD212"),
        (("import", "none.onnx", "--as", "yolox_nano", "--size", "3", "-o", "w"), "usage"),
        (("compile", "yolox_nano", "-o", "x.gdet"), "GD520"),
        (("compile", "yolox_nano", "--weights", "none.pth", "-o", "x.gdet"), "GD520"),
        (("compile", "yolox_nano", "-o", "no/folder/x.gdet"), "GD520"),
        (("compile", "yolox_nano", "-o", "x.gdet", "--size", "64y64"), "usage"),
        (("compile", "yolox_nano", "-o", "x.gdet", "--batch", "0"), "usage"),
        (("compile", "yolox_nano", "-o", "x.gdet", "--target", "tpu"), "usage"),
        (("compile", "yolox_nano"), "usage"),
    ],
)
def test_errors_for_people_and_machines(
    run: Run, words: tuple[str, ...], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    human = run(*words)
    assert human.exit_code == 2
    assert not human.stdout
    machine = run(*words, "--json")
    assert machine.exit_code == 2
    error = document(machine)["error"]
    assert error["code"] == code
    assert error["message"].split("\n")[0] in human.stderr
    assert human.stderr.startswith(f"{code} " if code != "usage" else "Usage: ")
    assert not list(tmp_path.iterdir())


def test_colours_mark_the_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cli._report(BadInput("too large", help="make it smaller"), as_json=False)
    plain = capsys.readouterr().err
    assert plain == str(BadInput("too large", help="make it smaller")) + "\n"
    styled: list[str] = []
    monkeypatch.setattr(click, "echo", lambda text, err: styled.append(text))
    cli._report(BadInput("too large", help="make it smaller"), as_json=False)
    assert styled[0].startswith("\x1b[31m\x1b[1mGD411\x1b[0m ")
    assert click.unstyle(styled[0]) + "\n" == plain


def test_ctrl_c_is_told_and_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from graphdet.cli import zoo

    def stop(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo.command, "callback", stop)
    done = run("zoo")
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_errors_are_one_document(run: Run) -> None:
    assert set(json.loads(run("show", "yolox_nan", "--json").stdout)["error"]) == {"code", "message", "where", "help"}
