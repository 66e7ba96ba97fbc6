"""Losses of masks on points instead of pixels (Kirillov et al. 2020, PointRend; Cheng et al. 2022, Mask2Former)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Operand, Value
from graphdet.ir.op import FP32, TRAIN, Positive, op
from graphdet.ops.math import Example

_GOLDEN = (5**0.5 - 1) / 2


def uniform(count: int, seed: int) -> Any:
    """Numbers f32[count] in 0..1 that depend on the seed; seed 0 gives multiples of the golden ratio, modulo 1."""
    if seed:
        return np.random.default_rng(seed).random(count, dtype=np.float32)
    return ((np.arange(1, count + 1) * _GOLDEN) % 1.0).astype(np.float32)


@op("f[] -> f[points 2]", TRAIN)
def random_points(seed: Operand, *, points: Positive) -> Value:
    """Points (x, y) in 0..1, a fixed function of the whole number `seed`."""
    ...


random_points.reference(lambda seed, *, points: uniform(points * 2, int(seed)).reshape(points, 2))
random_points.torch(
    lambda t, seed, *, points: t.from_numpy(uniform(points * 2, int(seed)).reshape(points, 2)).to(
        t.as_tensor(seed).device
    )
)


@random_points.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (np.float32(0),), {"points": 5}
    yield (np.float32(7),), {"points": 3}


@op("f[N K H W], f[P 2] -> f[N K P]", TRAIN, FP32)
def read_points(maps: Value, points: Value) -> Value:
    """Each map at points (x, y), 0..1 across it, by bilinear interpolation; zeros lie around the map."""
    ...


def _read(maps: Any, points: Any) -> Any:
    """Maps [R H W] at points [R P 2]: [R P]."""
    count, h, w = maps.shape
    x, y = points[..., 0] * np.float32(w) - np.float32(0.5), points[..., 1] * np.float32(h) - np.float32(0.5)
    low_x, low_y = np.floor(x), np.floor(y)
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    rows, out = np.arange(count)[:, None], np.zeros(points.shape[:2], np.float32)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (1 - abs(y - low_y - dy)) * (1 - abs(x - low_x - dx))
        out += weight * padded[rows, (low_y + dy + 1).astype(int), (low_x + dx + 1).astype(int)]
    return out


def _torch_read(t: Any, maps: Any, points: Any) -> Any:
    grid = points[:, None] * 2 - 1
    return t.nn.functional.grid_sample(maps[:, None], grid, align_corners=False)[:, 0, 0]


@read_points.reference
def _(maps: Any, points: Any) -> Any:
    n, k, h, w = maps.shape
    flat = maps.reshape(n * k, h, w)
    return _read(flat, np.broadcast_to(points, (n * k, *points.shape))).reshape(n, k, len(points))


@read_points.torch
def _(t: Any, maps: Any, points: Any) -> Any:
    found = t.nn.functional.grid_sample(maps, (points * 2 - 1).expand(len(maps), 1, -1, -1), align_corners=False)
    return found[:, :, 0]


@read_points.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4, 5), rng.random((7, 2), dtype=np.float32)), {}
    yield ((1, 0, 4, 5), np.asarray([[0.0, 0.0], [1.0, 1.0]], np.float32)), {}


@op("f[N Q H W], u8[N G Y X], i64[N Q], f[] -> f[N Q], f[N Q]", TRAIN, FP32)
def point_losses(
    maps: Value, masks: Value, owner: Value, seed: Operand, *, points: Positive = 12544, oversample: float = 3.0,
    share: float = 0.75,
) -> tuple[Value, Value]:  # fmt: skip
    """Mean binary cross entropy and Dice loss of mask logits against the bitmap of their object, on points of each map.

    owner: the object of each map, -1 for none, whose losses are 0. Of `oversample` times as many random points (a
    function of the whole number `seed`) the `share` of `points` where the logits are nearest to 0 are taken, and other
    random ones (PointRend, sec. 3.3). Dice: 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1).
    """
    ...


def _random(rows: int, points: int, oversample: float, share: float, seed: int) -> tuple[Any, Any, int]:
    near, many = int(share * points), int(points * oversample)
    drawn = uniform(rows * many * 2, seed).reshape(rows, many, 2)
    return drawn, uniform(rows * (points - near) * 2, seed and seed + 1).reshape(rows, points - near, 2), near


@point_losses.reference
def _(maps: Any, masks: Any, owner: Any, seed: Any, *, points: int, oversample: float, share: float) -> Any:
    out = np.zeros((2, *owner.shape), np.float32)
    image, query = np.nonzero(owner >= 0)
    many, others, near = _random(len(image), points, oversample, share, int(seed))
    logits = maps[image, query]
    order = np.argsort(np.abs(_read(logits, many)), 1, kind="stable")[:, :near]
    at = np.concatenate([np.take_along_axis(many, order[..., None], 1), others], 1)
    x, goal = _read(logits, at), _read(masks[image, owner[image, query]].astype(np.float32), at)
    p = 1 / (1 + np.exp(-x))
    out[0, image, query] = (np.maximum(x, 0) - x * goal + np.log1p(np.exp(-np.abs(x)))).mean(1)
    out[1, image, query] = 1 - (2 * (p * goal).sum(1) + 1) / (p.sum(1) + goal.sum(1) + 1)
    return out[0], out[1]


@point_losses.torch
def _(t: Any, maps: Any, masks: Any, owner: Any, seed: Any, *, points: int, oversample: float, share: float) -> Any:
    image, query = (owner >= 0).nonzero(as_tuple=True)
    logits = maps[image, query]
    with t.no_grad():
        drawn = _random(len(image), points, oversample, share, int(seed))
        many, others = (t.from_numpy(x).to(maps.device, maps.dtype) for x in drawn[:2])
        order = _torch_read(t, logits, many).abs().topk(drawn[2], largest=False).indices
        at = t.cat([many.gather(1, order[..., None].expand(-1, -1, 2)), others], 1)
        goal = _torch_read(t, masks[image, owner[image, query]].to(maps.dtype), at)
    x = _torch_read(t, logits, at)
    p = x.sigmoid()
    cross = t.nn.functional.binary_cross_entropy_with_logits(x, goal, reduction="none").mean(1)
    dice = 1 - (2 * (p * goal).sum(1) + 1) / (p.sum(1) + goal.sum(1) + 1)
    empty = maps.new_zeros(owner.shape)
    return tuple(empty.index_put((image, query), v) for v in (cross, dice))


@point_losses.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    masks = rng.integers(0, 2, (2, 3, 8, 12)).astype(np.uint8)
    for seed in (0, 3):
        owner = np.asarray([[0, -1, 2, 1], [-1, -1, 0, -1]])
        yield ((2, 4, 6, 5), masks, owner, np.float32(seed)), {"points": 16}
    yield ((1, 2, 4, 4), masks[:1, :0], np.full((1, 2), -1), np.float32(0)), {"points": 8}
