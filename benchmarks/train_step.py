"""How long does a training step take, against torchvision's detector of the same architecture?

A step is forward, backward and an SGD update on two images of 512x512 with eight objects each; both sides keep the
first stage and all batch norms of the backbone fixed, and their kernels with channels innermost. `data` adds what is
done to 8-bit images before: theirs as its reference scripts and its own transform do it, ours by `batch_inputs`.
Rounds are interleaved. `in convolutions` is the share of one more step that PyTorch's profiler finds in oneDNN's
convolutions and their gradients, which both sides call alike: what is left is all that a framework can win.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from _common import common, finish, spread, watched
from _torchvision import load

Step = Callable[[], object]
DETECTORS = ("retinanet_r50", "faster_rcnn_r50")
SIDE, BATCH, OBJECTS = 512, 2, 8


@click.command(help=__doc__)
@click.option("--torchvision", type=click.Path(path_type=Path), required=True, help="Folder to install torchvision in.")
@click.option("--detector", "names", multiple=True, type=click.Choice(DETECTORS), default=DETECTORS)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
@common
def main(torchvision: Path, names: tuple[str, ...], rounds: int, threads: int, as_json: bool, out: Path | None) -> None:
    """Measure and report."""
    import torch

    torch.set_num_threads(threads)
    torchvision.mkdir(parents=True, exist_ok=True)
    load(torchvision)
    noise: dict[str, Any] = {}
    with watched(noise):
        found = {name: compare(name, rounds) for name in names}
    document = {
        "protocol": f"{rounds} interleaved rounds, 1 more unmeasured; ratios: medians of the rounds' ratios",
        "noise": noise,
        "threads": threads,
        "detectors": found,
    }
    rows = [
        {"detector": name, "data": kind, **{k: f"{row[k]['median']:.2f} s" for k in ("ours", "theirs")},
         "ours / theirs": f"{row['ratio']:.2f}",
         "in convolutions": ", ".join(f"{share:.0%}" for share in row["in_convolutions"].values())}
        for name, kinds in found.items()
        for kind, row in kinds.items()
    ]  # fmt: skip
    finish("train_step", document, rows, as_json=as_json, out=out)


def compare(name: str, rounds: int) -> dict[str, Any]:
    """Seconds and ratios without and with the preparation of data."""
    contestants = {"ours": ours(name), "theirs": theirs(name)}
    times: dict[tuple[str, str], list[float]] = {}
    for i in range(rounds + 1):
        for who, steps in contestants.items():
            for kind, step in steps.items():
                start = time.perf_counter()
                step()
                if i:
                    times.setdefault((kind, who), []).append(time.perf_counter() - start)
    result = {}
    for kind in ("excluded", "included"):
        mine, its = times[kind, "ours"], times[kind, "theirs"]
        ratio = float(np.median(np.asarray(mine) / np.asarray(its)))
        shares = {who: in_convolutions(steps[kind]) for who, steps in contestants.items()}
        result[kind] = {"ours": spread(mine), "theirs": spread(its), "ratio": ratio, "in_convolutions": shares}
    return result


def in_convolutions(step: Step) -> float:
    """The share of a step's time that convolutions and their gradients take."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    rows = seen.key_averages()
    kernels = sum(row.self_cpu_time_total for row in rows if "convolution" in row.key)
    return float(kernels / sum(row.self_cpu_time_total for row in rows))


def scenes() -> list[Any]:
    """Random pictures with random boxes, as samples."""
    from graphdet.data import Sample
    from graphdet.records import Truth

    rng = np.random.default_rng(0)
    samples = []
    for i in range(BATCH):
        corner, extent = rng.uniform(0, SIDE / 2, (OBJECTS, 2)), rng.uniform(20, SIDE / 2, (OBJECTS, 2))
        boxes = np.concatenate([corner, corner + extent], 1).astype(np.float32)
        truth = Truth(boxes, rng.integers(0, 80, OBJECTS), np.zeros(OBJECTS, bool))
        picture = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        samples.append(Sample(picture, i + 1, (SIDE, SIDE), truth))
    return samples


def ours(name: str) -> dict[str, Step]:
    """Steps of `Training`, with prepared inputs and from samples."""
    from graphdet import zoo
    from graphdet.train import Recipe
    from graphdet.train.batch import batch_inputs
    from graphdet.train.recipe import Optimiser
    from graphdet.train.state import Training

    variant = zoo.get(name)
    recipe = Recipe(name, "", batch=BATCH, optimiser=Optimiser("SGD", 1e-5), device="cpu")
    run = Training(recipe, Path(), variant, steps=1000, per_epoch=1000.0)
    spec, samples = replace(variant.preprocess, size=(SIDE, SIDE)), scenes()
    ready = batch_inputs(samples, spec)
    return {"excluded": lambda: run.advance([ready]), "included": lambda: run.advance([batch_inputs(samples, spec)])}


def theirs(name: str) -> dict[str, Step]:
    """The usual loop around torchvision's model."""
    import torch
    from torchvision.models.detection import FasterRCNN, RetinaNet
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops import FrozenBatchNorm2d
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    options: dict[str, Any] = {"backbone_name": "resnet50", "weights": None, "norm_layer": FrozenBatchNorm2d}
    size = {"min_size": SIDE, "max_size": SIDE}
    if name == "retinanet_r50":
        body = resnet_fpn_backbone(
            **options, trainable_layers=3, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)
        )
        model: Any = RetinaNet(body, 80, **size)
    else:
        model = FasterRCNN(resnet_fpn_backbone(**options, trainable_layers=3), 81, **size)
    model = model.train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-5, momentum=0.9)
    shift = int(name == "faster_rcnn_r50")  # its label 0 is the background
    samples = scenes()
    targets = [
        {"boxes": torch.from_numpy(s.truth.boxes), "labels": torch.from_numpy(s.truth.labels) + shift} for s in samples
    ]

    def read() -> list[Any]:
        return [torch.from_numpy(s.image.transpose(2, 0, 1).copy()).float().div(255) for s in samples]

    def step(images: list[Any]) -> None:
        loss = sum(model(images, targets).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    ready = read()
    return {"excluded": lambda: step(ready), "included": lambda: step(read())}


if __name__ == "__main__":
    main()
