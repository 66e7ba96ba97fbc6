"""Boxes as distances from a point to their four sides, and how central the point lies in its box."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, ROWWISE, op
from graphdet.ops.box import random_boxes
from graphdet.ops.math import Example


@op("points<F>[*S 4], f[*R 4] -> boxes<xyxy,F>[*R 4]", ROWWISE, FP32)
def decode_distances(points: Value, distances: Value) -> Value:
    """Boxes (x - left, y - top, x + right, y + bottom) from points and distances, both in pixels (Tian et al. 2019)."""
    ...


@decode_distances.reference
def _(points: Any, distances: Any) -> Any:
    place = points[..., :2]
    return np.concatenate([place - distances[..., :2], place + distances[..., 2:]], -1)


@decode_distances.torch
def _(t: Any, points: Any, distances: Any) -> Any:
    place = points[..., :2]
    return t.cat([place - distances[..., :2], place + distances[..., 2:]], -1)


@decode_distances.onnx
def _(e: Any, points: Any, distances: Any) -> Any:
    place, _ = e.Split(points, axis=-1, num_outputs=2)
    low, high = e.Split(distances, axis=-1, num_outputs=2)
    return e.Concat(e.Sub(place, low), e.Add(place, high), axis=-1)


decode_distances.native("decode_distances")


def _points(rng: np.random.Generator, *shape: int) -> Any:
    return np.concatenate([rng.uniform(0, 64, (*shape, 2)), np.full((*shape, 2), 8.0)], -1).astype(np.float32)


@decode_distances.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (_points(rng, 5), (2, 5, 4)), {}
    yield (_points(rng, 2, 5), (2, 5, 4)), {}
    yield (_points(rng, 0), (2, 0, 4)), {}


@op("points<F>[*S 4], boxes<xyxy,F>[*R 4] -> f[*R 4]", ROWWISE, FP32)
def encode_distances(points: Value, boxes: Value) -> Value:
    """The inverse of `decode_distances`: how far left, top, right and bottom lie; negative for a point outside."""
    ...


@encode_distances.reference
def _(points: Any, boxes: Any) -> Any:
    place = points[..., :2]
    return np.concatenate([place - boxes[..., :2], boxes[..., 2:] - place], -1)


@encode_distances.torch
def _(t: Any, points: Any, boxes: Any) -> Any:
    place = points[..., :2]
    return t.cat([place - boxes[..., :2], boxes[..., 2:] - place], -1)


encode_distances.no("onnx", "only losses need it")


@encode_distances.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (_points(rng, 5), random_boxes(rng, 2, 5)), {}


@op("f[*S 4] -> f[*S]", ROWWISE, FP32)
def centreness(distances: Value) -> Value:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of distances l, t, r, b >= 0 (Tian et al. 2019, eq. 3)."""
    ...


@centreness.reference
def _(distances: Any) -> Any:
    a, b = distances[..., :2], distances[..., 2:]
    return np.sqrt((np.minimum(a, b) / np.maximum(a, b)).prod(-1))


@centreness.torch
def _(t: Any, distances: Any) -> Any:
    a, b = distances[..., :2], distances[..., 2:]
    return (t.minimum(a, b) / t.maximum(a, b)).prod(-1).sqrt()


centreness.no("onnx", "only losses need it")


@centreness.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.uniform(1, 9, (2, 5, 4)).astype(np.float32),), {}
    yield (np.asarray([[1, 2, 1, 2]], np.float32),), {}
