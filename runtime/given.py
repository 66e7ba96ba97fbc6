"""Random numbers for the graph inputs that come with images: what certificates and measurements give an engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphdet.records import Array
from graphdet.runtime.header import Given

COUNT = ".count"


def random_inputs(given: Mapping[str, Given], shapes: list[tuple[int, int]], seed: int = 0) -> dict[str, Array]:
    """One batch for images of these (height, width).

    Boxes lie inside their image. How many of them exist is anything from none to all: all in the first image and none
    in the next, or, where `seed` is odd, none in the first. Other numbers are normal, whole ones zero.
    """
    rng, n = np.random.default_rng(seed), len(shapes)
    drawn: dict[str, Array] = {}
    for name, row in given.items():
        if row.meaning == "boxes<xyxy,image>":
            corners = np.sort(rng.uniform(size=(n, *row.shape[:-1], 2, 2)), axis=-2)  # the upper left first
            extent = np.asarray(shapes, np.float32)[:, ::-1].reshape(n, *(1 for _ in row.shape), 2)
            drawn[name] = (corners * extent).reshape(n, *row.shape).astype(np.float32)
        elif row.dtype == "f32":
            drawn[name] = rng.standard_normal((n, *row.shape)).astype(np.float32)
        else:
            rows = given.get(name.removesuffix(COUNT) + ".boxes")
            most = rows.shape[0] if rows and not row.shape else 0
            ends = np.asarray([most, 0], np.int64)[seed % 2 :]
            drawn[name] = rng.integers(0, most, (n, *row.shape), endpoint=True)
            drawn[name][: len(ends)] = ends[:n].reshape(-1, *(1 for _ in row.shape))
    return drawn
