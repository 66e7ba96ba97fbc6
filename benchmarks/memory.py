"""Where does the memory of Mask R-CNN go, from the opening of its file to pasted masks?

The engine, weights and picture of `end_to_end.py`, plain and lean, each in a process of its own. Of each phase: the
most that was resident meanwhile, what is resident after it, how much of that are files (mostly code), and, for parts of
the network and pasting, the bytes of their results. Kernels count with the part of the network that follows them. The
first call is told as a whole, the second by its parts. What other programs do meanwhile hardly changes these figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from _common import common, finish, watched
from end_to_end import built, peak_mb, picture

Phase = dict[str, Any]


@click.command(help=__doc__)
@click.option("--size", default="800x1344", show_default=True, help="HEIGHTxWIDTH of the picture.")
@click.option("--threads", default=2, show_default=True)
@click.option("--target", default="openvino", show_default=True)
@click.option("--child", hidden=True, nargs=2, help="Measure one of the two: its name and the file.")
@common
def main(size: str, threads: int, target: str, child: tuple[str, str] | None, as_json: bool, out: Path | None) -> None:
    """Measure and report."""
    height, width = map(int, size.split("x"))
    if child:
        click.echo(json.dumps(phases(Path(child[1]), threads, (height, width), lean=child[0] == "lean")))
        return
    noise: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, watched(noise):
        file = Path(folder) / "x.gdet"
        built((height, width), target, file)
        weights = file_weights(file)
        words = [sys.executable, __file__, "--size", size, "--threads", str(threads), "--child"]
        plain, lean = (json.loads(subprocess.check_output([*words, mode, str(file)])) for mode in ("plain", "lean"))
    document = {
        "size": [height, width], "threads": threads, "target": target, "noise": noise, "weights": weights,
        "plain": plain, "lean": lean,
    }  # fmt: skip
    rows = [
        {
            "": one["phase"],
            "plain, at most": text(one["peak"]),
            "after it": text(one["after"]),
            "lean, at most": text(other["peak"]),
            "after": text(other["after"]),
            "files": text(other["files"]),
            "results": text(one["results"]),
        }
        for one, other in zip(plain, lean, strict=True)
    ]
    rows.append({**dict.fromkeys(rows[0], ""), "": "(weights in the file)", "results": text(weights)})
    finish("memory", document, rows, as_json=as_json, out=out)


def text(megabytes: float) -> str:
    """A figure of the table; nothing for nothing."""
    return f"{megabytes:.0f} MB" if megabytes else ""


def file_weights(file: Path) -> float:
    """Megabytes of a file's parameters, as they are kept for reading."""
    from graphdet.runtime.artefact import read_artefact

    return len(read_artefact(file).blobs["weights"]) / 2**20


def phases(file: Path, threads: int, size: tuple[int, int], *, lean: bool) -> list[Phase]:
    """In a child: what each phase takes."""
    from graphdet.runtime import Engine
    from graphdet.runtime.adapters import ADAPTERS
    from graphdet.runtime.artefact import read_artefact
    from graphdet.runtime.header import SegmentStep
    from graphdet.runtime.preprocess import prepare

    found: list[Phase] = []
    results: dict[str, float] = defaultdict(float)

    def done(phase: str) -> None:
        found.append({"phase": phase, "peak": peak_mb(), "after": status_mb("VmRSS"), "files": status_mb("RssFile"),
                      "results": results[phase]})  # fmt: skip
        forget_peak()

    forget_peak()
    artefact = read_artefact(file)
    import_module(ADAPTERS[artefact.header.target].module)
    done("imports")
    engine = Engine(artefact, threads=threads, lean=lean)
    done("opening")
    image = picture(size)
    done("the picture")
    (first,) = engine([image], score=0.0)
    assert first.masks is not None
    first.masks.bitmaps()
    done("first call")
    del first
    batch = prepare([image], engine.header.preprocess, size=engine.header.input.size)
    owners = {name: s.segment for s in engine.header.plan.steps if isinstance(s, SegmentStep) for name in s.outputs}
    ends = {s.outputs[-1] for s in engine.header.plan.steps if isinstance(s, SegmentStep)}

    def watch(name: str, value: Any) -> None:
        if name in owners:
            results[owners[name]] += value.nbytes / 2**20
        if name in ends:
            done(owners[name])

    engine.run(batch.pixels, batch.size, batch.geometry, watch=watch, score_threshold=0.0)
    done("after the network")
    del batch
    (again,) = engine([image], score=0.0)
    done("a whole call")
    assert again.masks is not None
    masks = again.masks.bitmaps()
    results["pasting"] = masks.nbytes / 2**20
    done("pasting")
    return found


def status_mb(field: str) -> float:
    """Megabytes that this process has now, by the kernel's own word for them (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def forget_peak() -> None:
    """From now on, `peak_mb` is the peak since now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
