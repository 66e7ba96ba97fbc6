"""Initial parameter values, as the `param` nodes declare them."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from graphdet.ir.graph import Graph
from graphdet.ir.types import numpy_dtype
from graphdet.records import Array


def initial_values(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """A value for every parameter and buffer.

    Each depends on the seed and its own name alone, so that adding one changes no other.

    `kaiming`: normal with variance 2 / fan-in (He et al. 2015, arXiv:1502.01852, eq. 10).
    `rays`: (x, y) of points 1, 2, ... cells away in eight directions, those of one direction together; the value is
    their number (Zhu et al. 2021, arXiv:2010.04159, app. A.4). `steps`: 0, 1, 2, ...
    """
    return {
        name: _initial(name, value.node.attributes, value.type.dtype, value.shape, seed)
        for name, value in graph.params.items()
    }


def _initial(name: str, attributes: Any, dtype: str, dims: tuple[Any, ...], seed: int) -> Array:
    shape = tuple(int(d.constant) for d in dims)
    if attributes["init"] == "constant":
        return np.full(shape, attributes["value"], numpy_dtype(dtype))
    if attributes["init"] == "rays":
        return _rays(shape[0], int(attributes["value"]))
    if attributes["init"] == "steps":
        return np.arange(math.prod(shape), dtype=numpy_dtype(dtype)).reshape(shape)
    deviation = attributes["value"]
    if attributes["init"] == "kaiming":
        deviation *= math.sqrt(2 / max(1, math.prod(shape[1:])))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return (rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)).astype(np.float32)


def _rays(count: int, points: int) -> Array:
    angle = np.arange(8) * (2 * np.pi / 8)
    ray = np.stack([np.cos(angle), np.sin(angle)], -1)
    ray /= np.abs(ray).max(-1, keepdims=True)
    rings = np.arange(1, points + 1)[:, None]
    spread = np.broadcast_to(ray[:, None, None] * rings, (8, count // (16 * points), points, 2))
    return np.asarray(spread.reshape(-1), np.float32)
