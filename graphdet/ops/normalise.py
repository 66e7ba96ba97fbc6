"""Normalisation by statistics of the sample itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.math import Example


@op("f[N C *S], f[C], f[C] -> f[N C *S]", FP32)
def group_norm(x: Value, weight: Value, bias: Value, *, groups: Positive = 32, eps: float = 1e-5) -> Value:
    """(x - mean) / sqrt(var + eps) over each image's groups of channels, then weight, bias a channel (Wu, He 2018)."""
    ...


@group_norm.infer
def _(x: Type, weight: Type, bias: Type, *, groups: int, eps: float) -> Type:
    channels = x.dims[1].constant
    if channels is None or channels % groups:
        raise BadAttribute(f"{x.dims[1]} channels do not split into {groups} groups", about="groups")
    return x


def _column(v: Any, rank: int) -> Any:
    return v.reshape(-1, *([1] * (rank - 2)))


@group_norm.reference
def _(x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> Any:
    n, c = x.shape[:2]
    rows = x.reshape(n, groups, c // groups * int(np.prod(x.shape[2:])))
    centred = rows - rows.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + x.dtype.type(eps))
    return scaled.reshape(x.shape) * _column(weight, x.ndim) + _column(bias, x.ndim)


@group_norm.torch
def _(t: Any, x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> Any:
    return t.nn.functional.group_norm(x, groups, weight, bias, eps)


@group_norm.onnx
def _(e: Any, x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> Any:
    dims = e.type(x).dims
    rows = e.Reshape(x, e.sizes((dims[0], groups, -1)))
    one, zero = (e.constant(np.full(groups, v, np.float32)) for v in (1, 0))
    scaled = e.Reshape(e.InstanceNormalization(rows, one, zero, epsilon=eps), e.sizes(dims))
    column = e.sizes((-1, *([1] * (len(dims) - 2))))
    return e.Add(e.Mul(scaled, e.Reshape(weight, column)), e.Reshape(bias, column))


@group_norm.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 6, 4, 5), (6,), (6,)), {"groups": 3}
    yield ((1, 4, 3), (4,), (4,)), {"groups": 1, "eps": 1e-3}
