"""One-to-one matching of queries and objects. Train-only; no gradient flows through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, TRAIN, op
from graphdet.ops.math import Example


@op("f[N Q G], i64[N] -> i64[N Q]", TRAIN, FP32)
def match_one_to_one(cost: Value, count: Value) -> Value:
    """The object that each query takes, -1 for none: the pairs of least total cost (Kuhn 1955; Carion et al. 2020).

    Each of an image's `count` objects goes to one query, as long as there are queries. A cost that is not finite
    counts as 1e9.
    """
    ...


def _pairs(cost: Any, count: Any) -> Any:
    from scipy.optimize import linear_sum_assignment  # training alone needs it

    cost = np.nan_to_num(cost, nan=1e9, posinf=1e9, neginf=1e9)
    out = np.full(cost.shape[:2], -1, np.int64)
    for i, known in enumerate(count):
        rows, columns = linear_sum_assignment(cost[i, :, :known])
        out[i, rows] = columns
    return out


match_one_to_one.reference(_pairs)
match_one_to_one.torch(
    lambda t, cost, count: t.from_numpy(_pairs(cost.detach().float().cpu().numpy(), count.cpu().numpy())).to(
        cost.device
    )
)


@match_one_to_one.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 6, 4), np.asarray([4, 2])), {}
    yield ((2, 3, 5), np.asarray([5, 0])), {}
    yield (np.asarray([[[np.nan, 1], [2, np.inf]]], np.float32), np.asarray([2])), {}
    yield ((1, 4, 0), np.asarray([0])), {}


@op("f[N Q C], i64[N G] -> f[N Q G]", TRAIN)
def class_columns(x: Value, labels: Value) -> Value:
    """What each query says of the class of each object: column labels[n, g] of x[n]."""
    ...


class_columns.reference(lambda x, labels: np.take_along_axis(x, labels[:, None], 2))
class_columns.torch(lambda t, x, labels: x.gather(2, labels[:, None].expand(-1, x.shape[1], -1)))


@class_columns.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 5, 3), rng.integers(0, 3, (2, 4))), {}
    yield ((2, 5, 3), np.zeros((2, 0), np.int64)), {}
