"""What does an engine cost beyond its bare network, and what does it gain on PyTorch?

Runs of one detector at batch 1: the whole call (image in, detections out), the engine on prepared pixels (network,
selection, suppression), its dense segment alone, and the same detector as a PyTorch module in evaluation mode on the
same pixels. Rounds are interleaved, so that a busy machine disturbs all of them alike, with a pause before each run.
What the network does not need is also given in processor time, which other programs disturb least. `--program` names
the C++ example `bench`, which makes the whole call on the same file.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from _common import common, finish, spread, watched

DETECTORS = ("yolox_nano", "yolox_s")


@click.command(help=__doc__)
@click.option("--detector", "names", multiple=True, default=DETECTORS, show_default=True)
@click.option("--target", default="openvino", show_default=True)
@click.option("--rounds", default=30, show_default=True)
@click.option("--threads", type=int, help="Threads of engine and PyTorch; by default what each chooses.")
@click.option("--program", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The C++ example bench.")
@common
def main(
    names: tuple[str, ...],
    target: str,
    rounds: int,
    threads: int | None,
    program: Path | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """Measure and report."""
    noise: dict[str, Any] = {}
    with watched(noise):
        found = {name: compare(name, target, rounds, threads, program) for name in names}
    document = {
        "protocol": f"{rounds} interleaved rounds at batch 1, 3 more unmeasured; ratios: medians of the rounds' ratios",
        "noise": noise,
        "target": target,
        "threads": threads,
        "detectors": found,
    }
    rows = [
        {
            "detector": f"{name} {'x'.join(map(str, row['size']))}",
            **{k: f"{row['milliseconds'][k]['median']:.2f} ms" for k in ("engine", "segment", "torch")},
            "engine / segment": f"{row['engine_to_segment']:.3f}",
            "processor": ", ".join(f"{k} {ms:.2f}" for k, ms in row["processor_milliseconds"].items()),
            "beyond network": ", ".join(f"{k} {share:.1%}" for k, share in row["beyond_network"].items()),
            "torch / engine": f"{row['torch_to_engine']:.2f}",
        }
        for name, row in found.items()
    ]
    finish("engine_speed", document, rows, as_json=as_json, out=out)


def compare(name: str, target: str, rounds: int, threads: int | None, program: Path | None) -> dict[str, Any]:
    """Medians and ratios of one detector. beyond_network: share of a call's processor time outside the segment."""
    with tempfile.TemporaryDirectory() as folder:
        size, runs = contestants(name, target, threads, Path(folder))
        times: dict[str, list[float]] = {key: [] for key in runs}
        work: dict[str, list[float]] = {key: [] for key in runs}
        for i in range(rounds + 3):
            for key, run in runs.items():
                time.sleep(0.02)  # idle threads of the contestant before spin for a while, at the cost of the next one
                start, used = time.perf_counter(), time.process_time()
                run()
                if i >= 3:
                    times[key].append(1000 * (time.perf_counter() - start))
                    work[key].append(1000 * (time.process_time() - used))
        if program is not None:
            words = [program, Path(folder) / "x.gdet", Path(folder) / "x.ppm", rounds, threads or 0]
            work["c++ call"] = [json.loads(subprocess.check_output([str(word) for word in words]))["cpu_p50_ms"]]
    columns = {key: np.asarray(values) for key, values in times.items()}
    busy = {key: float(np.median(values)) for key, values in work.items()}
    return {
        "beyond_network": {k: 1 - busy["segment"] / busy[k] for k in ("engine", "call")},
        "processor_milliseconds": busy,
        "size": list(size),
        "milliseconds": {key: spread(values) for key, values in times.items()},
        "engine_to_segment": float(np.median(columns["engine"] / columns["segment"])),
        "torch_to_engine": float(np.median(columns["torch"] / columns["engine"])),
    }


def contestants(
    name: str, target: str, threads: int | None, folder: Path
) -> tuple[tuple[int, int], dict[str, Callable[[], object]]]:
    """The engine, its segment, and the PyTorch module, each with its inputs bound; engine and image as files too."""
    import cv2
    import torch

    from graphdet import compiler, zoo
    from graphdet.compiler.backends.torch import to_module
    from graphdet.ir import trace
    from graphdet.ir.initial import initial_values
    from graphdet.runtime import Engine, write_artefact
    from graphdet.runtime.adapters import open_segment
    from graphdet.runtime.header import SegmentStep
    from graphdet.runtime.preprocess import prepare

    variant = zoo.get(name)
    graph = trace(variant)
    weights = initial_values(graph)
    artefact = compiler.compile(variant, weights, target, certified=False)
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    write_artefact(folder / "x.gdet", artefact)
    cv2.imwrite(str(folder / "x.ppm"), picture)
    size = artefact.header.input.size or (0, 0)
    batch = prepare([picture], variant.preprocess, size=size)
    engine = Engine(artefact, threads=threads)
    step = next(s for s in artefact.header.plan.steps if isinstance(s, SegmentStep))
    segment = open_segment(target, artefact.blob(f"segment:{step.segment}"), threads=threads)
    arrays = {"pixels": batch.pixels, "size": batch.size, "geometry": batch.geometry}
    fed = {key: arrays[key] for key in step.inputs}
    if threads is not None:
        torch.set_num_threads(threads)
    module = to_module(graph, weights).eval()
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items() if key in graph.inputs}

    def eager() -> object:
        with torch.inference_mode():
            return module(**tensors)

    return size, {
        "call": lambda: engine(picture),
        "engine": lambda: engine.run(batch.pixels, batch.size, batch.geometry),
        "segment": lambda: segment.run(fed),
        "torch": eager,
    }


if __name__ == "__main__":
    main()
