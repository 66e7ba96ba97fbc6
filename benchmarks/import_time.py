"""How long do `import graphdet` and `graphdet --help` take? Fresh processes, interleaved; the target is 0.3 s each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from _common import ROOT, common, finish, spread, watched

COMMANDS = {
    "python alone": [sys.executable, "-c", "pass"],
    "import graphdet": [sys.executable, "-c", "import graphdet"],
    "graphdet --help": [sys.executable, "-m", "graphdet", "--help"],
}
TARGET = 0.3  # seconds


@click.command(help=__doc__)
@click.option("--runs", default=15, show_default=True, help="Processes of each kind.")
@common
def main(runs: int, as_json: bool, out: Path | None) -> None:
    """Measure and report."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    noise: dict[str, Any] = {}
    for command in COMMANDS.values():  # once unmeasured: compiles bytecode, warms the file cache
        subprocess.run(command, check=True, capture_output=True, env=environment)
    with watched(noise):
        for _ in range(runs):
            for name, command in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True, env=environment)
                times[name].append(time.perf_counter() - start)
    found = {name: spread(values) for name, values in times.items()}
    rows = [
        {
            "command": name,
            **{key: f"{value:.3f} s" for key, value in row.items()},
            "target": "" if name == "python alone" else f"{TARGET} s",
        }
        for name, row in found.items()
    ]
    document = {
        "protocol": f"{runs} fresh processes each, interleaved, wall seconds",
        "noise": noise,
        "target": TARGET,
        "seconds": found,
    }
    finish("import_time", document, rows, as_json=as_json, out=out)


if __name__ == "__main__":
    main()
