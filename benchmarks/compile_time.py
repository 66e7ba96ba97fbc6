"""How long does it take, and how much memory, to compile a detector with its certificate?

RetinaNet R50 at 800x1344 for OpenVINO: fresh processes, from start to the written file. Targets: 20 s, 4 GiB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from _common import ROOT, common, finish, spread, watched

SECONDS, GIB = 20.0, 4.0  # targets


@click.command(help=__doc__)
@click.option("--detector", default="retinanet_r50", show_default=True)
@click.option("--target", default="openvino", show_default=True)
@click.option("--runs", default=3, show_default=True, help="Fresh processes.")
@click.option("--child", is_flag=True, hidden=True)
@common
def main(detector: str, target: str, runs: int, child: bool, as_json: bool, out: Path | None) -> None:
    """Measure and report."""
    if child:
        click.echo(json.dumps(compile_once(detector, target)))
        return
    command = [sys.executable, __file__, "--child", "--detector", detector, "--target", target]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    noise: dict[str, Any] = {}
    facts, walls = [], []
    with watched(noise):
        for _ in range(runs):
            start = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            walls.append(time.perf_counter() - start)
            facts.append(json.loads(done.stdout))
    wall, cpu, memory = spread(walls), spread([f["cpu"] for f in facts]), spread([f["gib"] for f in facts])
    stages = {name: spread([f["stages"][name] for f in facts])["median"] for name in facts[0]["stages"]}
    document = {
        "protocol": f"{runs} fresh processes: import, compile, certify, write; wall and processor seconds",
        "noise": noise,
        "detector": detector,
        "target": target,
        "size": facts[0]["size"],
        "targets": {"seconds": SECONDS, "gib": GIB},
        "seconds": wall,
        "cpu": cpu,
        "gib": memory,
        "stages": stages,
    }
    rows = [
        {"what": "wall", **{k: f"{v:.2f} s" for k, v in wall.items()}, "target": f"{SECONDS:g} s"},
        {"what": "processor time", **{k: f"{v:.2f} s" for k, v in cpu.items()}, "target": ""},
        {"what": "peak memory", **{k: f"{v:.2f} GiB" for k, v in memory.items()}, "target": f"{GIB:g} GiB"},
        *(
            {"what": f"  {name}", "median": f"{value:.2f} s", "least": "", "largest": "", "target": ""}
            for name, value in stages.items()
        ),
    ]
    finish("compile_time", document, rows, as_json=as_json, out=out)


def compile_once(detector: str, target: str) -> dict[str, Any]:
    """Compile in this process: seconds by stage, peak memory in GiB, network input."""
    start = time.perf_counter()
    from graphdet import compiler, zoo
    from graphdet.ir import trace
    from graphdet.ir.initial import initial_values
    from graphdet.runtime import write_artefact

    marks: list[tuple[str, float]] = [("import", start)]

    def mark(stage: str) -> None:
        marks.append((stage, time.perf_counter()))

    variant = zoo.get(detector)
    mark("weights")
    weights = initial_values(trace(variant))
    artefact = compiler.compile(variant, weights, target, progress=mark)
    mark("write")
    with tempfile.TemporaryDirectory() as folder:
        write_artefact(Path(folder) / "x.gdet", artefact)
    mark("end")
    stages: dict[str, float] = {}
    for (name, begun), (_, ended) in pairwise(marks):
        stages[name] = stages.get(name, 0.0) + ended - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"stages": stages, "gib": peak, "cpu": time.process_time(), "size": list(artefact.header.input.size or ())}


if __name__ == "__main__":
    main()
