"""One comparison of a kernel with its peer, and how it is measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphdet.records import Array

Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One comparison. `target`: the ratio peer time / our time that we want. `check`: are the results the same?"""

    name: str
    peer_name: str
    target: float | None
    ours: Call
    peer: Call
    check: Callable[[Any, Any], bool]


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Medians in milliseconds of both sides, turn by turn, after one round for warming up."""
    same = case.check(case.ours(), case.peer())
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, log in zip((case.ours, case.peer), times, strict=True):
            time.sleep(0.01)  # thread pools of the other side spin for a while after their work
            start = time.perf_counter()
            call()
            log.append((time.perf_counter() - start) * 1e3)
    ours, peer = map(statistics.median, times)
    ratio = statistics.median(p / o for o, p in zip(*times, strict=True))
    row = {"name": case.name, "peer": case.peer_name, "ours_ms": ours, "peer_ms": peer, "ratio": ratio}
    return {**row, "target": case.target, "same_result": bool(same), "rounds": rounds}


def boxes_of(rng: np.random.Generator, count: int, height: int, width: int, low: float, high: float) -> Array:
    """f32[count 4] inside an image."""
    extent = rng.uniform(low, high, (count, 2))
    corner = rng.uniform(0, 1, (count, 2)) * ((width, height) - extent)
    return np.concatenate([corner, corner + extent], 1).astype(np.float32)


def close(mine: Any, theirs: Any) -> bool:
    """Equal within the rounding of float32 sums."""
    return bool(np.allclose(mine, theirs.numpy(), rtol=1e-3, atol=1e-4))
