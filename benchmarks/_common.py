"""What every benchmark needs: facts about the machine, how quiet it was, and results as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("graphdet", "numpy", "onnx", "onnxruntime", "openvino", "torch", "opencv-python-headless")
QUIET = 0.1  # share of the machine's time that others may use before a result is called noisy


def common(function: Callable[..., None]) -> Callable[..., None]:
    """The options of every benchmark."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON instead of a table."),
        click.option(
            "--out", type=click.Path(path_type=Path), help="Result file; by default benchmarks/results/<name>.json."
        ),
    ):
        function = option(function)
    return function


def machine() -> dict[str, Any]:
    """Processor, cores, memory, versions."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str:
    if package == "graphdet":
        from graphdet import __version__

        return __version__
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _ticks() -> tuple[int, int, int]:
    """Clock ticks of the whole machine since it started: all, idle, stolen by other machines of the host."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0, 0, 0
    fields = [int(x) for x in stat.read_text().split("\n")[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4], fields[7]


@contextmanager
def watched(noise: dict[str, Any]) -> Iterator[None]:
    """Fill `noise` with how busy the machine was meanwhile.

    own: processor seconds of this process and its children · idle, stolen, others: shares of the machine's time ·
    quiet: whether others used less than a tenth.
    """
    start, own, wall = _ticks(), os.times(), time.perf_counter()
    yield
    seconds, now, after = time.perf_counter() - wall, _ticks(), os.times()
    used = sum(after[:4]) - sum(own[:4])
    whole = max(1, now[0] - start[0])
    idle, stolen = (now[1] - start[1]) / whole, (now[2] - start[2]) / whole
    busy = used * os.sysconf("SC_CLK_TCK") / whole
    others = max(0.0, 1 - idle - busy)
    noise.update(
        seconds=round(seconds, 2),
        own=round(used, 2),
        idle=round(idle, 3),
        stolen=round(stolen, 3),
        others=round(others, 3),
    )
    noise["quiet"] = others < QUIET


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest of some measurements."""
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def finish(
    name: str, document: dict[str, Any], rows: Sequence[dict[str, str]], *, as_json: bool, out: Path | None
) -> None:
    """Write the result file, and print it: as JSON, or `rows` as a table."""
    document = {"benchmark": name, "machine": machine(), **document}
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    if as_json:
        click.echo(text)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=name, *rows[0])  # noqa: B026
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    console.print(table)
    noise = document["noise"]
    console.print(
        f"others used {noise['others']:.0%} of the machine"
        + ("" if noise["quiet"] else ": too noisy to compare, run it again")
    )
