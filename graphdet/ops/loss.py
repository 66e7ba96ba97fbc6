"""Loss terms, elementwise or per prior; detectors sum and normalise them. Train-only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, TRAIN, op
from graphdet.ops.math import Example, stable_sigmoid


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@op("logits[*S], f[*S] -> f[*S]", TRAIN, FP32)
def bce(logits: Value, target: Value) -> Value:
    """Binary cross entropy of sigmoid(logits) against targets in 0..1, elementwise."""
    ...


bce.reference(lambda logits, target: _softplus(logits) - logits * target)
bce.torch(lambda t, logits, target: t.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none"))


@bce.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 5, 3), rng.random((2, 5, 3), dtype=np.float32)), {}
    yield (np.asarray([-80.0, 80.0], np.float32), np.asarray([0.0, 1.0], np.float32)), {}


@op("logits[N A C], i64[N A] -> f[N A]", TRAIN, FP32)
def focal_loss(logits: Value, labels: Value, *, alpha: float = 0.25, gamma: float = 2.0) -> Value:
    """Sigmoid focal loss (Lin et al. 2017, eq. 5), summed over classes: -alpha_t (1 - p_t)^gamma log p_t.

    A label of C (background) makes every class a negative; a label of -1 (ignored) gives 0.
    """
    ...


@focal_loss.reference
def _(logits: Any, labels: Any, *, alpha: float, gamma: float) -> Any:
    target = labels[..., None] == np.arange(logits.shape[-1])
    p = stable_sigmoid(logits)
    miss = np.where(target, 1 - p, p)
    weight = np.where(target, alpha, 1 - alpha) * miss**gamma * (labels >= 0)[..., None]
    return (weight * (_softplus(logits) - logits * target)).sum(-1).astype(logits.dtype)


@focal_loss.torch
def _(t: Any, logits: Any, labels: Any, *, alpha: float, gamma: float) -> Any:
    target = (labels[..., None] == t.arange(logits.shape[-1], device=labels.device)).to(logits.dtype)
    p = logits.sigmoid()
    miss = (1 - p) * target + p * (1 - target)
    weight = (alpha * target + (1 - alpha) * (1 - target)) * miss.pow(gamma) * (labels >= 0)[..., None]
    return (weight * t.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum(-1)


@focal_loss.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 6, 3), rng.integers(-1, 4, (2, 6))), {}
    yield ((2, 0, 3), np.zeros((2, 0), np.int64)), {"gamma": 1.5}


@op("logits[*S C], i64[*S] -> f[*S]", TRAIN, FP32)
def cross_entropy(logits: Value, labels: Value) -> Value:
    """-log softmax(logits) of each row's label; a label of -1 (ignored) gives 0."""
    ...


@cross_entropy.reference
def _(logits: Any, labels: Any) -> Any:
    shifted = logits - logits.max(-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(log, np.maximum(labels, 0)[..., None], -1)[..., 0] * (labels >= 0)


@cross_entropy.torch
def _(t: Any, logits: Any, labels: Any) -> Any:
    rows = t.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none", ignore_index=-1
    )
    return rows.reshape(labels.shape)


@cross_entropy.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 6, 3), rng.integers(-1, 3, (2, 6))), {}
    yield ((4, 5), rng.integers(0, 5, 4)), {}


@op("f[*S] -> f[*S]", TRAIN, FP32)
def smooth_l1(error: Value, *, beta: float = 1.0) -> Value:
    """error^2 / (2 beta) below beta, |error| - beta / 2 from there on (Girshick 2015, eq. 3), elementwise."""
    ...


@smooth_l1.reference
def _(error: Any, *, beta: float) -> Any:
    size = np.abs(error)
    return np.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta).astype(error.dtype)


@smooth_l1.torch
def _(t: Any, error: Any, *, beta: float) -> Any:
    size = error.abs()
    return t.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def _errors(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.normal(0, 2, (3, 4)).astype(np.float32),), {}
    yield (rng.normal(0, 0.2, (3, 4)).astype(np.float32),), {"beta": 1 / 9}
    yield ((0, 4),), {}


smooth_l1.examples(_errors)


@op("f[*S] -> f[*S]", TRAIN, FP32)
def balanced_l1(error: Value, *, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0) -> Value:
    """Smooth L1 with a larger gradient near 0 (Pang et al. 2019, Libra R-CNN, eq. 8), elementwise.

    With b = exp(gamma / alpha) - 1: alpha / b (b x + 1) ln(b x / beta + 1) - alpha x for x = |error| below beta, then
    gamma x + gamma / b - alpha beta. The gradient is gamma from beta on.
    """
    ...


@balanced_l1.reference
def _(error: Any, *, alpha: float, gamma: float, beta: float) -> Any:
    return _balanced(np, error, alpha, gamma, beta)


@balanced_l1.torch
def _(t: Any, error: Any, *, alpha: float, gamma: float, beta: float) -> Any:
    return _balanced(t, error, alpha, gamma, beta)


def _balanced(lib: Any, error: Any, alpha: float, gamma: float, beta: float) -> Any:
    size, b = lib.abs(error), math.expm1(gamma / alpha)
    near = alpha / b * (b * size + 1) * lib.log(b * size / beta + 1) - alpha * size
    return lib.where(size < beta, near, gamma * size + gamma / b - alpha * beta)


balanced_l1.examples(_errors)


@op("logits[*S C], f[*S C] -> f[*S]", TRAIN, FP32)
def soft_cross_entropy(logits: Value, target: Value) -> Value:
    """-sum of target * log softmax(logits) over the last axis: cross entropy against a distribution."""
    ...


@soft_cross_entropy.reference
def _(logits: Any, target: Any) -> Any:
    shifted = logits - logits.max(-1, keepdims=True)
    return -(target * (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))).sum(-1)


soft_cross_entropy.torch(lambda t, logits, target: -(target * logits.log_softmax(-1)).sum(-1))


@soft_cross_entropy.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 6, 3), rng.dirichlet(np.ones(3), (2, 6)).astype(np.float32)), {}
