"""Sampling of priors for training: which of many candidates a loss looks at. Train-only; no gradient flows through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Operand, Value
from graphdet.ir.op import FP32, TRAIN, Positive, op
from graphdet.ops.math import Example

_MASK = 2**31 - 1


@op("b[N A], b[N A], f[] -> b[N A]", TRAIN)
def sample_mask(positive: Value, negative: Value, seed: Operand, *, limit: Positive, share: float) -> Value:
    """Draw `limit` candidates an image (Girshick 2015, sec. 2.3): positives up to that `share`, then negatives.

    The draw is a fixed function of the whole number `seed`: candidates are numbered in each image, and those whose
    number has the smallest hash are taken, so that neither padding nor how processes share a batch matters. A seed of 0
    takes the first ones.
    """
    ...


def _order(index: Any, seed: Any) -> Any:
    """What candidates are taken by: their number itself for seed 0, else a hash of both, below 2^31."""
    mixed = (index + seed * 40503) & _MASK
    for factor in (0x2C1B3C6D, 0x297A2D39):
        mixed = ((mixed ^ (mixed >> 15)) * factor) & _MASK
    return index + (seed != 0) * ((mixed ^ (mixed >> 15)) - index)


@sample_mask.reference
def _(positive: Any, negative: Any, seed: Any, *, limit: int, share: float) -> Any:
    return _take(positive, negative, _numpy_order(positive | negative, seed), limit, share)


def _numpy_order(candidate: Any, seed: Any) -> Any:
    return np.argsort(_order(np.cumsum(candidate, 1) - 1, int(seed)), 1, kind="stable")


def _take(positive: Any, negative: Any, order: Any, limit: int, share: float) -> Any:
    """The first positives of each image in this order, up to their share, then the first negatives."""
    chosen = np.zeros_like(positive)
    for i in range(len(chosen)):
        wanted = order[i][positive[i][order[i]]][: int(limit * share)]
        rest = order[i][negative[i][order[i]]][: limit - len(wanted)]
        chosen[i, wanted] = chosen[i, rest] = True
    return chosen


@sample_mask.torch
def _(t: Any, positive: Any, negative: Any, seed: Any, *, limit: int, share: float) -> Any:
    with t.no_grad():
        return _torch_take(t, positive, negative, _torch_order(t, positive | negative, seed), limit, share)


def _torch_order(t: Any, candidate: Any, seed: Any) -> Any:
    seed = t.as_tensor(seed, device=candidate.device).long()
    return _order(candidate.cumsum(1) - 1, seed).argsort(dim=1, stable=True)


def _torch_take(t: Any, positive: Any, negative: Any, order: Any, limit: int, share: float) -> Any:
    wanted = _first(positive.gather(1, order), int(limit * share))
    rest = _first(negative.gather(1, order), limit - wanted.sum(1, keepdim=True))
    return t.zeros_like(positive).scatter(1, order, wanted | rest)


def _first(mask: Any, count: Any) -> Any:
    """The first `count` true entries of each row."""
    return mask & (mask.cumsum(1) <= count)


@sample_mask.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    kinds = rng.integers(0, 4, (2, 40))
    for seed in (0, 7, 90000):
        yield (kinds == 0, kinds > 1, np.float32(seed)), {"limit": 12, "share": 0.25}
    yield (kinds == 0, kinds == 1, np.float32(0)), {"limit": 100, "share": 0.5}
    yield (kinds > 5, kinds > 1, np.float32(3)), {"limit": 8, "share": 0.5}


@op("f[N A], b[N A], b[N A] -> b[N A]", TRAIN)
def hardest(loss: Value, positive: Value, negative: Value, *, ratio: Positive = 3) -> Value:
    """The negatives of largest loss in each image, `ratio` for each positive (Liu et al. 2016, SSD, sec. 2.2)."""
    ...


@hardest.reference
def _(loss: Any, positive: Any, negative: Any, *, ratio: int) -> Any:
    order = np.argsort(np.where(negative, -loss, np.inf), 1, kind="stable")
    chosen = np.zeros_like(negative)
    for i, row in enumerate(order):
        chosen[i, row[: ratio * positive[i].sum()]] = True
    return chosen & negative


@hardest.torch
def _(t: Any, loss: Any, positive: Any, negative: Any, *, ratio: int) -> Any:
    with t.no_grad():
        order = t.where(negative, -loss, t.inf).argsort(dim=1, stable=True)
        first = t.arange(loss.shape[1], device=loss.device) < ratio * positive.sum(1, keepdim=True)
        return t.zeros_like(negative).scatter(1, order, first) & negative


@hardest.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    kinds = rng.integers(0, 5, (2, 40))
    yield ((2, 40), kinds == 0, kinds > 1), {"ratio": 3}
    yield ((2, 40), kinds > 5, kinds > 1), {}


@op("b[N A], b[N A], f[N A] -> b[N A]", TRAIN)
def sample_hardest(positive: Value, negative: Value, loss: Value, *, limit: Positive, share: float) -> Value:
    """`sample_mask` that takes the candidates of the largest loss (Shrivastava et al. 2016, online hard examples)."""
    ...


@sample_hardest.reference
def _(positive: Any, negative: Any, loss: Any, *, limit: int, share: float) -> Any:
    return _take(positive, negative, np.argsort(-loss, 1, kind="stable"), limit, share)


@sample_hardest.torch
def _(t: Any, positive: Any, negative: Any, loss: Any, *, limit: int, share: float) -> Any:
    with t.no_grad():
        return _torch_take(t, positive, negative, loss.argsort(dim=1, descending=True, stable=True), limit, share)


@sample_hardest.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    kinds = rng.integers(0, 4, (2, 40))
    yield (kinds == 0, kinds > 1, (2, 40)), {"limit": 12, "share": 0.25}
    yield (kinds == 0, kinds == 1, np.ones((2, 40), np.float32)), {"limit": 9, "share": 0.5}


@op("b[N A], b[N A], f[N A], f[] -> b[N A]", TRAIN, FP32)
def sample_spread(
    positive: Value, negative: Value, overlap: Value, seed: Operand,
    *, limit: Positive, share: float, bins: Positive = 3, floor: float = -1.0, floor_share: float = 0.0,
) -> Value:  # fmt: skip
    """`sample_mask` with negatives spread evenly over their overlap (Pang et al. 2019, Libra R-CNN, sec. 3.1).

    overlap: each candidate's largest IoU with an object, at least 0. The range from `floor` to the image's largest one
    is cut into `bins` of equal length; each gives the same number of negatives, and what a bin lacks comes from all. A
    `floor_share` of the negatives comes from below the floor: with one of 0, from those that touch nothing; below 0,
    none are there, and the range starts at 0.
    """
    ...


def _above(overlap: Any, floor: float) -> Any:
    """Which overlaps the bins hold."""
    return (overlap >= floor) & ((overlap > 0) | (floor < 0))


@sample_spread.reference
def _(
    positive: Any, negative: Any, overlap: Any, seed: Any,
    *, limit: int, share: float, bins: int, floor: float, floor_share: float,
) -> Any:  # fmt: skip
    n, a = positive.shape
    order = _numpy_order(positive | negative, seed)
    chosen = np.zeros_like(positive)
    for i in range(n if a else 0):
        chosen[i, order[i][positive[i][order[i]]][: int(limit * share)]] = True
        wanted = limit - int(chosen[i].sum())
        high = [j for j in order[i] if negative[i, j] and _above(overlap[i, j], floor)]
        low = [j for j in order[i] if negative[i, j] and not _above(overlap[i, j], floor)]
        first, spread = np.float32(max(floor, 0)), int(wanted * (1 - floor_share))
        step = (overlap[i].max() - first) / np.float32(bins)
        taken = []
        for b in range(bins):
            start, stop = (first + np.float32(k) * step for k in (b, b + 1))
            taken += [j for j in high if start <= overlap[i, j] < stop][: spread // bins]
        taken += [j for j in high if j not in taken][: spread - len(taken)]
        taken += low[: wanted - len(taken)]
        taken += [j for j in high if j not in taken][: wanted - len(taken)]
        chosen[i, taken] = True
    return chosen


@sample_spread.torch
def _(
    t: Any, positive: Any, negative: Any, overlap: Any, seed: Any,
    *, limit: int, share: float, bins: int, floor: float, floor_share: float,
) -> Any:  # fmt: skip
    if not positive.shape[1]:
        return positive
    with t.no_grad():
        order = _torch_order(t, positive | negative, seed)
        found = _first(positive.gather(1, order), int(limit * share))
        wanted = limit - found.sum(1, keepdim=True)
        negative, overlap = negative.gather(1, order), overlap.gather(1, order)
        high = negative & _above(overlap, floor)
        spread = (wanted.double() * (1 - floor_share)).long()
        start = max(floor, 0.0)
        step = (overlap.amax(1, keepdim=True) - start) / bins
        taken = t.zeros_like(high)
        for b in range(bins):
            inside = (overlap >= start + b * step) & (overlap < start + (b + 1) * step)
            taken = taken | _first(high & inside, spread // bins)
        for some, most in ((high, spread), (negative & ~high, wanted), (high, wanted)):
            taken = taken | _first(some & ~taken, most - taken.sum(1, keepdim=True))
        return t.zeros_like(positive).scatter(1, order, found | taken)


@sample_spread.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    kinds, overlap = rng.integers(0, 4, (2, 60)), rng.choice(np.linspace(0, 0.5, 30, dtype=np.float32), (2, 60))
    overlap = np.where(kinds == 0, 0.5 + overlap, overlap)
    for seed in (0, 7, 90000):
        yield (kinds == 0, kinds > 0, overlap, np.float32(seed)), {"limit": 12, "share": 0.25}
    yield (kinds == 0, kinds > 0, overlap, np.float32(0)), {"limit": 24, "share": 0.5, "floor": 0.1, "floor_share": 0.4}
    yield (kinds == 0, kinds > 0, overlap, np.float32(3)), {"limit": 30, "share": 0.5, "floor": 0.0, "bins": 1}
    yield (kinds == 0, kinds == 1, overlap, np.float32(0)), {"limit": 100, "share": 0.5}
    yield (kinds > 5, kinds > 1, np.zeros((2, 60), np.float32), np.float32(3)), {"limit": 8, "share": 0.5}
    nothing = np.zeros((2, 0), bool)
    yield (nothing, nothing, np.zeros((2, 0), np.float32), np.float32(0)), {"limit": 8, "share": 0.5}


@op("b[N A], b[N A] -> i64[N min(k,A)], b[N min(k,A)]", TRAIN)
def pick_rows(mask: Value, first: Value, *, k: Positive) -> tuple[Value, Value]:
    """Places of k true entries of each row of `mask`, and which of them exist; the others hold place 0.

    Those that `first` names too come first; otherwise they keep their order.
    """
    ...


@pick_rows.reference
def _(mask: Any, first: Any, *, k: int) -> Any:
    k = min(k, mask.shape[1])
    order = np.argsort(np.where(mask, ~first, 2), 1, kind="stable")[:, :k]
    real = np.take_along_axis(mask, order, 1)
    return np.where(real, order, 0), real


@pick_rows.torch
def _(t: Any, mask: Any, first: Any, *, k: int) -> Any:
    with t.no_grad():
        order = t.where(mask, (~first).to(t.int8), 2).argsort(dim=1, stable=True)[:, :k]
        real = mask.gather(1, order)
        return t.where(real, order, 0), real


@pick_rows.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    first = rng.random((2, 30)) > 0.5
    yield (rng.random((2, 30)) > 0.7, first), {"k": 5}
    yield (rng.random((2, 6)) > 0.5, first[:, :6]), {"k": 9}
    yield (np.zeros((2, 4), bool), first[:, :4]), {"k": 3}


@op("i64[N], T[N K *S] -> b[N K]")
def exists(count: Value, rows: Value) -> Value:
    """Which rows of a padded batch exist: those before each image's count."""
    ...


exists.reference(lambda count, rows: np.arange(rows.shape[1])[None] < count[:, None])
exists.torch(lambda t, count, rows: t.arange(rows.shape[1], device=count.device)[None] < count[:, None])
exists.onnx(
    lambda e, count, rows: e.Less(
        e.Range(e.scalar(0), e.size(e.type(rows).dims[1]), e.scalar(1)), e.Unsqueeze(count, e.sizes((1,)))
    )
)


@exists.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (np.asarray([0, 2, 5]), (3, 4, 2)), {}
    yield (np.asarray([1]), (1, 3)), {}


@op("T[*S] -> T[*S]", TRAIN)
def stop_gradient(x: Value) -> Value:
    """The same numbers, through which nothing learns."""
    ...


stop_gradient.reference(lambda x: x)
stop_gradient.torch(lambda t, x: x.detach())


@stop_gradient.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4),), {}
