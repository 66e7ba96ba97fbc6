"""Does finetuning reach its figure in time, and does a run that was killed end in the same weights?

YOLOX-Nano is finetuned on BCCD's 292 training images by the shipped recipe, through the command line: once
undisturbed, and once killed (SIGKILL) after a third and after two thirds of its steps and resumed each time. Both must
leave the same weights, bit for bit. The result is compiled and evaluated on the 72 test images beside PyTorch.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
from _common import common, finish, watched

DETECTOR, RECIPE, KILLS = "yolox_nano", "yolox_finetune", 2


@click.command(help=__doc__)
@click.option("--bccd", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of BCCD.")
@click.option("--weights", type=click.Path(exists=True, path_type=Path), required=True, help="Weights of COCO.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder for the runs.")
@click.option("--epochs", default=24.0, show_default=True)
@click.option("--threads", default=2, show_default=True)
@common
def main(bccd: Path, weights: Path, work: Path, epochs: float, threads: int, as_json: bool, out: Path | None) -> None:
    """Measure and report."""
    data = ["--data", f"voc:{bccd}:trainval", "--held-out", f"voc:{bccd}:test"]
    start = [DETECTOR, "--recipe", RECIPE, "--weights", weights, *data, "--epochs", epochs, "--threads", threads]
    noise: dict[str, Any] = {}
    with watched(noise):
        seconds = finished(begin(start, work / "whole"))
    steps = last_step(work / "whole")
    points = [part * steps // (KILLS + 1) for part in range(1, KILLS + 1)]
    for i, step in enumerate(points):
        kill_after(begin(["--resume"] if i else start, work / "killed"), work / "killed", step)
    finished(begin(["--resume"], work / "killed"))
    whole, killed = ((work / name / "weights.safetensors").read_bytes() for name in ("whole", "killed"))
    found = {target: score(work, target, f"voc:{bccd}:test") for target in ("torch", "openvino")}
    result = {
        "epochs": epochs,
        "steps": steps,
        "minutes": seconds / 60,
        "killed_after_steps": points,
        "same_weights": whole == killed,
        "found": found,
    }
    row = {
        "epochs": f"{epochs:g}",
        "minutes": f"{seconds / 60:.1f}",
        **{f"{target} AP, AP50": f"{100 * f['AP']:.2f}, {100 * f['AP50']:.2f}" for target, f in found.items()},
        "after two kills": "the same weights" if result["same_weights"] else "OTHER WEIGHTS",
    }
    finish("finetune", {"noise": noise, "threads": threads, **result}, [row], as_json=as_json, out=out)


def begin(options: list[Any], folder: Path) -> subprocess.Popen[bytes]:
    """A training process."""
    words = [sys.executable, "-m", "graphdet", "train", *map(str, options), "--out", str(folder)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def finished(process: subprocess.Popen[bytes]) -> float:
    """Seconds until a process that must succeed has ended."""
    start = time.perf_counter()
    if process.wait():
        raise click.ClickException(f"training ended with code {process.returncode}")
    return time.perf_counter() - start


def kill_after(process: subprocess.Popen[bytes], folder: Path, step: int) -> None:
    """Kill a process once it has logged a step."""
    while last_step(folder) < step:
        if process.poll() is not None:
            raise click.ClickException(f"training ended with code {process.returncode} before it could be killed")
        time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()


def records(folder: Path) -> list[dict[str, Any]]:
    """Whole lines of a run's log; none while there is no log."""
    log = folder / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def last_step(folder: Path) -> int:
    """The newest step in a run's log."""
    return max((int(record.get("step", 0)) for record in records(folder)), default=0)


def score(work: Path, target: str, data: str) -> dict[str, float]:
    """AP and AP50 of the undisturbed run's weights, compiled."""
    engine = work / f"{target}.gdet"
    graphdet("compile", DETECTOR, "--weights", work / "whole" / "weights.safetensors", "--target", target, "-o", engine)
    shown = json.loads(graphdet("test", engine, "--data", data, "--json"))
    return {key: float(shown[key]) for key in ("AP", "AP50")}


def graphdet(*words: Any) -> bytes:
    """What a command prints."""
    return subprocess.run(
        [sys.executable, "-m", "graphdet", *map(str, words)], check=True, stdout=subprocess.PIPE
    ).stdout


if __name__ == "__main__":
    main()
