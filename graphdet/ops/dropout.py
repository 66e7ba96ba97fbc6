"""Dropout (Srivastava et al. 2014, JMLR 15), by a fixed function of the training step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Operand, Value
from graphdet.ir.op import TRAIN, Natural, op
from graphdet.ops.math import Example

_LOW = 0xFFFFFFFF


@op("f[*S], f[] -> f[*S]", TRAIN)
def dropout(x: Value, seed: Operand, *, rate: float, stream: Natural = 0) -> Value:
    """About a part `rate` of the numbers becomes 0, the others are divided by 1 - rate; at seed 0 all stay as they are.

    Which do is a function of the whole number `seed` (the step), of `stream` (the place in the network), and index.
    """
    ...


def kept(index: Any, seed: int, stream: int, rate: float) -> Any:
    """Which of the elements numbered by `index` (i64, an array or a tensor) stay: a hash of 32 bits, in i64."""
    bits = (index * 0x9E3779B1 + (seed * 0x85EBCA77 + stream * 0xC2B2AE3D)) & _LOW
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = ((bits ^ (bits >> shift)) * factor) & _LOW
    return (bits ^ (bits >> 16)) >= int(rate * 2**32)


@dropout.reference
def _(x: Any, seed: Any, *, rate: float, stream: int) -> Any:
    if not int(seed):
        return x
    stays = kept(np.arange(x.size, dtype=np.int64).reshape(x.shape), int(seed), stream, rate)
    return np.where(stays, x / x.dtype.type(1 - rate), x.dtype.type(0))


@dropout.torch
def _(t: Any, x: Any, seed: Any, *, rate: float, stream: int) -> Any:
    if not int(seed):
        return x
    stays = kept(t.arange(x.numel(), device=x.device), int(seed), stream, rate).view(x.shape)
    return x * stays * (1 / (1 - rate))


@dropout.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((3, 40), np.float32(0)), {"rate": 0.5}
    yield ((3, 4, 50), np.float32(7)), {"rate": 0.1, "stream": 3}
    yield ((0, 4), np.float32(1)), {"rate": 0.1}
