"""How fast is an engine on this machine: latency by stage, and the worst input that selection can meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphdet.records import Array
from graphdet.runtime.engine import Engine
from graphdet.runtime.given import random_inputs
from graphdet.runtime.kernels import kernels
from graphdet.runtime.preprocess import prepare

WARM_UP = 5
WORST_BOXES, WORST_CLASSES = 100_000, 80


def latency(engine: Engine, images: Sequence[Array], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round by stage: `prepare`, each step of the plan, `total` (images in, detections out).

    images: u8[H W 3] arrays, one batch; a detector that is given boxes gets random ones. A first few rounds are run and
    not counted.
    """
    times: dict[str, list[float]] = {}
    given = random_inputs(engine.header.input.given, [image.shape[:2] for image in images]).get("proposals.boxes")
    boxes = None if given is None else list(given)
    for i in range(rounds + WARM_UP):
        stages = {**_stages(engine, images), "total": _clock(lambda: engine(images, proposals=boxes))}
        for stage, milliseconds in stages.items():
            if i >= WARM_UP:
                times.setdefault(stage, []).append(milliseconds)
    return times


def _stages(engine: Engine, images: Sequence[Array]) -> dict[str, float]:
    header = engine.header
    taken = header.input
    start = time.perf_counter()
    count = taken.batch or len(images)
    batch = prepare([images[i % len(images)] for i in range(count)], header.preprocess, size=taken.size or taken.bounds)
    ends = [time.perf_counter()]
    found = {"prepare": 1000 * (ends[0] - start)}
    steps = {step.outputs[-1]: step for step in header.plan.steps}

    def watch(name: str, array: Array) -> None:
        if name in steps:
            ends.append(time.perf_counter())
            label = getattr(steps[name], "segment", "") or getattr(steps[name], "op", "")
            found[label] = found.get(label, 0.0) + 1000 * (ends[-1] - ends[-2])

    ends[0] = time.perf_counter()
    given = random_inputs(header.input.given, list(batch.shapes))
    engine.run(batch.pixels, batch.size, batch.geometry, inputs=given, watch=watch)
    return found


def worst_case(rounds: int = 5) -> dict[str, list[float]]:
    """Milliseconds of the kernels on inputs that nothing filters.

    100 000 candidates that all overlap, of one class and of 80 classes; as many that do not overlap at all, where every
    pair must be compared unless `keep` ends the walk; the best 1000 of 100 000 x 80 scores that all pass the threshold.
    """
    native = kernels()
    rng = np.random.default_rng(0)
    same = np.tile(np.asarray([10, 10, 50, 50], np.float32), (1, WORST_BOXES, 1))
    apart = same + 100 * np.arange(WORST_BOXES, dtype=np.float32)[None, :, None]
    scores = rng.uniform(0.1, 1, (1, WORST_BOXES)).astype(np.float32)
    one, many = np.zeros((1, WORST_BOXES), np.int64), rng.integers(0, WORST_CLASSES, (1, WORST_BOXES))
    every = rng.uniform(0.1, 1, (1, WORST_BOXES, WORST_CLASSES)).astype(np.float32)

    def nms(boxes: Array, labels: Array, keep: int) -> Callable[[], object]:
        return lambda: native.nms(boxes, scores, labels, 0.05, 0.5, keep=keep, agnostic=False)

    cases: Mapping[str, Callable[[], object]] = {
        "nms, all overlap, 1 class": nms(same, one, 0),
        "nms, all overlap, 80 classes": nms(same, many, 0),
        "nms, none overlap, 80 classes, keep 100": nms(apart, many, 100),
        "nms, none overlap, 1 class, keep all": nms(apart, one, 0),
        "select_top, 8 M scores pass, k 1000": lambda: native.select_top(every, 0.05, k=1000, activation=""),
    }
    return {name: [_clock(run) for _ in range(rounds)] for name, run in cases.items()}


def _clock(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def summary(times: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Median, 90th and 99th percentile, least, of each stage in milliseconds."""
    return {
        name: {
            "median": float(np.median(values)),
            "p90": float(np.percentile(values, 90)),
            "p99": float(np.percentile(values, 99)),
            "least": float(min(values)),
        }
        for name, values in times.items()
    }
