"""What does an engine cost beyond its bare network, and what does it gain on PyTorch?

Three runs of one detector at batch 1 on prepared pixels: the engine (network, selection, suppression), its dense
segment alone, and the same detector as a PyTorch module in evaluation mode. Rounds are interleaved, so that a busy
machine disturbs all of them alike.
"""

from __future__ import annotations

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
@common
def main(
    names: tuple[str, ...], target: str, rounds: int, threads: int | None, as_json: bool, out: Path | None
) -> None:
    """Measure and report."""
    noise: dict[str, Any] = {}
    with watched(noise):
        found = {name: compare(name, target, rounds, threads) for name in names}
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
            "torch / engine": f"{row['torch_to_engine']:.2f}",
        }
        for name, row in found.items()
    ]
    finish("engine_speed", document, rows, as_json=as_json, out=out)


def compare(name: str, target: str, rounds: int, threads: int | None) -> dict[str, Any]:
    """Medians and ratios of one detector."""
    size, runs = contestants(name, target, threads)
    times: dict[str, list[float]] = {key: [] for key in runs}
    for i in range(rounds + 3):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if i >= 3:
                times[key].append(1000 * (time.perf_counter() - start))
    columns = {key: np.asarray(values) for key, values in times.items()}
    return {
        "size": list(size),
        "milliseconds": {key: spread(values) for key, values in times.items()},
        "engine_to_segment": float(np.median(columns["engine"] / columns["segment"])),
        "torch_to_engine": float(np.median(columns["torch"] / columns["engine"])),
    }


def contestants(name: str, target: str, threads: int | None) -> tuple[tuple[int, int], dict[str, Callable[[], object]]]:
    """The engine, its segment, and the PyTorch module, each with its inputs bound."""
    import torch

    from graphdet import compiler, zoo
    from graphdet.compiler.backends.torch import to_module
    from graphdet.ir import trace
    from graphdet.ir.initial import initial_values
    from graphdet.runtime import Engine
    from graphdet.runtime.adapters import open_segment
    from graphdet.runtime.header import SegmentStep
    from graphdet.runtime.preprocess import prepare

    variant = zoo.get(name)
    graph = trace(variant)
    weights = initial_values(graph)
    artefact = compiler.compile(variant, weights, target, certified=False)
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
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
        "engine": lambda: engine.run(batch.pixels, batch.size, batch.geometry),
        "segment": lambda: segment.run(fed),
        "torch": eager,
    }


if __name__ == "__main__":
    main()
