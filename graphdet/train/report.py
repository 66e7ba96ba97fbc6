"""What a run tells while it runs: a JSON-lines log and a progress bar."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from graphdet.train.state import Training

_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def peak_memory(device: torch.device) -> float:
    """The most memory so far, in MiB: that PyTorch has held on the GPU, or this process as a whole."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT / 2**20


class Journal:
    """A JSON-lines log: a line a step, a line an evaluation. Lines after step `keep` of an earlier run are dropped."""

    def __init__(self, path: Path, keep: int = 0) -> None:
        kept = [line for line in _lines(path) if line["step"] <= keep]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._before = time.perf_counter()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def step(self, run: Training) -> None:
        """Log the step that was just done: `seconds` since the last line, `memory` in MiB, the most so far."""
        now = time.perf_counter()
        seconds, self._before = now - self._before, now
        terms = {name: round(value, 6) for name, value in run.losses.items()}
        facts = {
            "step": run.step,
            "epoch": round(run.epoch, 3),
            "loss": round(run.loss, 6),
            **terms,
            "lr": float(f"{run.lr:.4g}"),
        }
        memory = round(peak_memory(run.group.device))
        self._write({**facts, "norm": round(run.norm, 4), "seconds": round(seconds, 4), "memory": memory})

    def evaluated(self, run: Training) -> None:
        """Log the figures of an evaluation."""
        assert run.result is not None, "the moment says that there was one"
        self._write({"step": run.step, "evaluation": run.result.as_dict()})
        self._before = time.perf_counter()

    def note(self, text: str) -> None:
        """Log a sentence."""
        self._write({"step": 0, "note": text})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # cut off by a crash
                return


@contextmanager
def progress_bar(steps: int, wanted: bool | None) -> Iterator[Callable[[Training], None]]:
    """A bar with the loss terms on stderr, moved by calling it; for None only on a terminal."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda run: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (MofNCompleteColumn(), BarColumn(bar_width=24), TimeRemainingColumn(), TextColumn("{task.fields[terms]}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=steps, terms="")
        yield lambda run: bar.update(task, completed=run.step, terms=_terms(run))


def _terms(run: Training) -> str:
    terms = " ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in run.losses.items())
    figures = f" · AP {run.result.AP:.3f}" if run.result is not None else ""
    return f"loss {run.loss:.3f} ({terms}){figures} · {peak_memory(run.group.device) / 1024:.1f} GiB"
