"""How long from pixels to pasted masks, and in how much memory, against torchvision's Mask R-CNN?

Both run Mask R-CNN with ResNet-50 and a feature pyramid on one uint8 picture of the network's own size, in float32,
each in a process of its own. Weights are random (normal, variance 1 / fan-in), and both keep the 100 best detections:
both paste 100 masks into the picture and threshold them. torchvision runs eagerly in inference mode. The lean engine is
the same file, opened to use little memory; `few` is the engine with a threshold that 3 objects pass, which shows what
masks cost (all pass in its first run: that is its peak). Rounds are interleaved. Peaks are those of the resident set of
a whole process, its imports and the opening of the file included (`VmHWM`); beside them stands what it was after the
imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
from _common import common, finish, spread, watched

KEPT = 100  # detections of an image
Run = Callable[[], int]
Opened = tuple[Run, float]  # and the memory after the imports, in MB


@click.command(help=__doc__)
@click.option("--torchvision", type=click.Path(path_type=Path), required=True, help="Folder to install torchvision in.")
@click.option("--size", default="800x1344", show_default=True, help="HEIGHTxWIDTH of the picture.")
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--target", default="openvino", show_default=True)
@click.option("--contestant", hidden=True, help="Be one of the two: its name, and what it opens.", nargs=2)
@common
def main(
    torchvision: Path, size: str, threads: int, rounds: int, target: str, contestant: tuple[str, str] | None,
    as_json: bool, out: Path | None,
) -> None:  # fmt: skip
    """Measure and report."""
    height, width = map(int, size.split("x"))
    if contestant:
        name, opened = contestant
        serve(contestants()[name](Path(opened), threads, (height, width)))
        return
    noise: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.gdet"
        built((height, width), target, file)
        words = [sys.executable, __file__, "--torchvision", str(torchvision), "--size", size, "--threads", str(threads)]
        children = {
            name: subprocess.Popen(
                [*words, "--contestant", name, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for name, path in ((name, torchvision if name == "torchvision" else file) for name in contestants())
        }
        with watched(noise):
            found = measured(children, rounds)
    pasted = {name: row["masks"] for name, row in found.items() if name != "few"}
    if len(set(pasted.values())) > 1:
        raise click.ClickException(f"the work is not the same: masks pasted are {pasted}")
    ratios = {name: ratio(row, found["torchvision"]) for name, row in found.items()}
    document = {
        "protocol": f"{rounds} interleaved rounds at batch 1, 2 more unmeasured; ratio: median of the rounds' ratios",
        "size": [height, width], "threads": threads, "target": target, "noise": noise, "contestants": found,
        "torchvision_to": ratios,
    }  # fmt: skip
    rows = [
        {
            "": name,
            "median": f"{np.median(row['milliseconds']):.0f} ms",
            "least": f"{min(row['milliseconds']):.0f} ms",
            "peak memory": f"{row['peak_mb']:.0f} MB",
            "imports": f"{row['imports_mb']:.0f} MB",
            "masks": str(row["masks"]),
            "times faster": f"{ratios[name]['time']['median']:.2f}",
            "times smaller": f"{ratios[name]['memory']:.2f}",
        }
        for name, row in found.items()
    ]
    finish("end_to_end", document, rows, as_json=as_json, out=out)


def contestants() -> dict[str, Callable[[Path, int, tuple[int, int]], Opened]]:
    """What each of them opens its file with."""
    return {
        "engine": engine, "lean": partial(engine, lean=True), "few": partial(engine, objects=3), "torchvision": peer,
    }  # fmt: skip


def measured(children: dict[str, subprocess.Popen[str]], rounds: int) -> dict[str, Any]:
    """Ask each child in turn; what each says of its last round, and the times of all but two."""
    times: dict[str, list[float]] = {name: [] for name in children}
    last: dict[str, Any] = {}
    for i in range(rounds + 2):
        for name, child in children.items():
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("go\n")
            child.stdin.flush()
            last[name] = json.loads(child.stdout.readline())
            if i >= 2:
                times[name].append(last[name].pop("milliseconds"))
    for child in children.values():
        child.communicate()
    return {name: {**last[name], "milliseconds": times[name]} for name in children}


def ratio(row: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """How often a contestant's time and memory go into those of its peer."""
    times = [b / a for a, b in zip(row["milliseconds"], peer["milliseconds"], strict=True)]
    return {"time": spread(times), "memory": peer["peak_mb"] / row["peak_mb"]}


def serve(opened: Opened) -> None:
    """In a child: one run for each line of input, its time, masks, and the peak memory so far as a line of output."""
    run, imports = opened
    for _ in sys.stdin:
        start = time.perf_counter()
        masks = run()
        elapsed = 1e3 * (time.perf_counter() - start)
        said = {"milliseconds": elapsed, "masks": masks, "peak_mb": peak_mb(), "imports_mb": imports}
        print(json.dumps(said), flush=True)


def peak_mb() -> float:
    """The most memory that this process has had (Linux). `ru_maxrss` would count its parent's, up to the exec, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def picture(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Waves and noise, u8[H W 3]."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    waves = np.stack([np.sin(x / a + y / b) for a, b in ((31, 57), (83, -41), (-19, 23))], -1)
    noise = np.random.default_rng(0).normal(0, 20, waves.shape)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8)


def values(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A random parameter: matrices and kernels of variance 1 / fan-in, scales and variances of 1, the rest 0."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), np.float32)
    return np.full(shape, name.endswith(("weight", "running_var")), np.float32)


def built(size: tuple[int, int], target: str, file: Path) -> None:
    """Compile the engine that is measured."""
    import graphdet
    from graphdet.runtime import write_artefact

    variant = graphdet.get("mask_rcnn_r50")
    params = graphdet.trace(variant).params
    weights = {name: values(name, tuple(d.evaluate({}) for d in value.shape)) for name, value in params.items()}
    write_artefact(file, graphdet.compile(variant, weights, target, size=size, certified=False))


def engine(file: Path, threads: int, size: tuple[int, int], *, lean: bool = False, objects: int = KEPT) -> Opened:
    """Our engine; objects: how many pass its threshold."""
    from graphdet.runtime import Engine
    from graphdet.runtime.adapters import ADAPTERS
    from graphdet.runtime.artefact import read_artefact

    artefact = read_artefact(file)
    import_module(ADAPTERS[artefact.header.target].module)
    imports = peak_mb()
    opened, image = Engine(artefact, threads=threads, lean=lean), picture(size)
    (first,) = opened([image], score=0.0)
    score = float(first.scores[objects - 1 : objects + 1].mean()) if objects < len(first) else 0.0

    def run() -> int:
        (found,) = opened([image], score=score)
        assert found.masks is not None
        return len(found.masks.bitmaps())

    return run, imports


def peer(folder: Path, threads: int, size: tuple[int, int]) -> Opened:
    """The model of torchvision, eager."""
    import torch
    from _torchvision import load

    load(folder)
    torch.set_num_threads(threads)
    build = import_module("torchvision.models.detection").maskrcnn_resnet50_fpn
    imports = peak_mb()
    limits = {"min_size": min(size), "max_size": max(size)}
    model = build(
        weights=None, weights_backbone=None, box_score_thresh=0.0, box_detections_per_img=KEPT, **limits
    ).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.dtype == torch.float32:
                tensor.copy_(torch.from_numpy(values(name, tuple(tensor.shape))))
    image = picture(size)

    @torch.inference_mode()
    def run() -> int:
        pixels = torch.from_numpy(image).permute(2, 0, 1).to(torch.float32) / 255
        (found,) = model([pixels])
        return len(found["masks"][:, 0] > 0.5)

    return run, imports


if __name__ == "__main__":
    main()
