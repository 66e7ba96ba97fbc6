"""Do many threads on one engine go on giving the results of one thread, in memory that does not grow?

Half of the threads call the engine, the other half submit work to its queue, on drawn scenes of mixed sizes; every
result is compared with that of the same image before. Memory is looked at from a quarter of the time on. With
`--program`, the C++ program `soak` (built with the C++ tests) does the same on the same engine file. Exits with 1
when a result differs or memory grows.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import click
import numpy as np
from _common import common, finish, watched

WARM_UP = 0.25  # share of the time
GROWTH = 16  # MiB that an allocator may keep
PENDING = 4  # submissions that a thread waits for at a time
SIZES = ((320, 320), (240, 416), (333, 250), (480, 640), (100, 130))
SCORE = 0.05


@click.command(help=__doc__)
@click.option("--seconds", default=60.0, show_default=True, help="For each of the two languages.")
@click.option("--threads", default=8, show_default=True)
@click.option("--target", default="openvino", show_default=True)
@click.option("--program", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The C++ program.")
@common
def main(seconds: float, threads: int, target: str, program: Path | None, as_json: bool, out: Path | None) -> None:
    """Run and report."""
    noise: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, watched(noise):
        engine = _compiled(Path(folder) / "soak.gdet", target)
        found = {"python": soak(engine, seconds, threads)}
        if program is not None:
            command = [str(program), str(engine), str(seconds), str(threads)]
            said = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout
            if not said:  # the reason is on stderr; what Python found is not lost
                print(found)
                raise click.ClickException(f"{program} says nothing")
            found["c++"] = json.loads(said)
    document = {
        "protocol": f"{threads} threads on one engine for {seconds:.0f} s, every result compared with a serial one; "
        f"memory from {WARM_UP:.0%} of the time on",
        "noise": noise,
        "target": target,
        "found": found,
    }
    rows = [
        {
            "language": name,
            **{key: str(row[key]) for key in ("threads", "calls", "wrong", "objects")},
            "memory": f"{row['rss_warm_mib']:.1f} MiB",
            "most": f"{row['rss_most_mib']:.1f} MiB",
        }
        for name, row in found.items()
    ]
    finish("soak", document, rows, as_json=as_json, out=out)
    if not all(right(row) for row in found.values()):
        raise SystemExit(1)


def right(row: dict[str, Any]) -> bool:
    """Whether a run was as it should be."""
    flat = row["rss_most_mib"] - row["rss_warm_mib"] <= GROWTH
    return bool(row["wrong"] == 0 and row["calls"] > 0 and row["objects"] > 0 and flat)


def _compiled(path: Path, target: str) -> Path:
    import graphdet
    from graphdet.cli._build import read_variant
    from graphdet.runtime import write_artefact

    variant, weights = read_variant("yolox_scenes", None)
    write_artefact(path, graphdet.compile(variant, weights.tensors, target, certified=False))
    return path


def soak(path: Path, seconds: float, threads: int) -> dict[str, Any]:
    """Share one engine among threads for a while."""
    from graphdet.data.scenes import scene
    from graphdet.runtime import Engine, read_artefact

    images = [scene(np.random.default_rng(i), SIZES[i % len(SIZES)])[0] for i in range(16)]
    with Engine(read_artefact(path), threads=1, workers=2, queue=8) as engine:
        expected = [engine(image, score=SCORE)[0] for image in images]
        end = time.monotonic() + seconds
        tallies = [[0, 0] for _ in range(threads)]  # calls, wrong results
        workers = [
            threading.Thread(target=_work, args=(engine, images, expected, i, end, tallies[i])) for i in range(threads)
        ]
        for worker in workers:
            worker.start()
        early = most = 0.0
        while time.monotonic() < end:
            time.sleep(0.1)
            if end - time.monotonic() < (1 - WARM_UP) * seconds:
                early = early or _resident()
                most = max(most, _resident())
        for worker in workers:
            worker.join()
    return {
        "threads": threads,
        "seconds": seconds,
        "calls": sum(calls for calls, _ in tallies),
        "wrong": sum(wrong for _, wrong in tallies),
        "objects": sum(map(len, expected)),
        "rss_warm_mib": early,
        "rss_most_mib": most,
    }


def _work(
    engine: Any, images: Sequence[Any], expected: Sequence[Any], first: int, end: float, tally: list[int]
) -> None:
    for start in count(first, PENDING):
        if time.monotonic() >= end:
            return
        turns = [i % len(images) for i in range(start, start + PENDING)]
        if first % 2:
            futures = [engine.submit(images[i], score=SCORE) for i in turns]
            found = [future.result()[0] for future in futures]
        else:
            found = [engine(images[i], score=SCORE)[0] for i in turns]
        tally[0] += len(turns)
        tally[1] += sum(not _same(one, expected[i]) for one, i in zip(found, turns, strict=True))


def _same(a: Any, b: Any) -> bool:
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("boxes", "scores", "labels"))


def _resident() -> float:
    """MiB of memory that the process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    main()
