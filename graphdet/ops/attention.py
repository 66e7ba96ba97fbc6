"""What transformers are made of: attention, layer norm, sums along an axis, sine encodings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute, ShapeMismatch
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, ROWWISE, Natural, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.dropout import dropout
from graphdet.ops.math import Example
from graphdet.ops.shape import axis_of


@op("f[N Q C], f[N K C], f[N K D], b[N R K]?, f[]? -> f[N Q D]")
def attention(
    query: Value, key: Value, value: Value, seen: Value | None = None, seed: Value | None = None, *, heads: Positive,
    rate: float = 0.0, stream: Natural = 0,
) -> Value:  # fmt: skip
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, sec. 3.2.2), without its projections.

    The channels are split into `heads` equal groups. `seen` tells which keys each query attends to, or all queries
    alike (R = 1); a query that sees no key attends to all of them. With a seed, weights are dropped as by `dropout`.
    """
    ...


@attention.infer
def _(
    query: Type, key: Type, value: Type, seen: Type | None, seed: Type | None = None, *, heads: int, **_: Any
) -> Type:
    for i, x in ((0, query), (2, value)):
        if (x.dims[2].constant or 0) % heads:
            raise BadAttribute(f"{x.dims[2]} channels do not split into {heads} heads", about="heads")
        if x.dims[2].constant is None:
            raise ShapeMismatch(f"is {x}: its channels must be a number", about=i)
    if seen and seen.dims[1] not in (Dim.of(1), query.dims[1]):
        raise ShapeMismatch(f"is {seen}, expected a row for all queries or for each of {query.dims[1]}", about=3)
    return Type(query.dtype, (*query.dims[:2], value.dims[2]))


def _heads(x: Any, heads: int) -> Any:
    n, k, c = x.shape
    return x.reshape(n, k, heads, c // heads).swapaxes(1, 2)


@attention.reference
def _(query: Any, key: Any, value: Any, seen: Any, seed: Any = None, *, heads: int, rate: float, stream: int) -> Any:
    q, k, v = (_heads(x, heads) for x in (query, key, value))
    logits = (q * q.dtype.type(q.shape[-1] ** -0.5)) @ k.swapaxes(2, 3)
    if seen is not None:
        logits = np.where((seen | ~seen.any(-1, keepdims=True))[:, None], logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    if seed is not None:
        weights = dropout.rules["reference"](weights, seed, rate=rate, stream=stream)
    return (weights @ v).swapaxes(1, 2).reshape(*query.shape[:2], value.shape[2]).astype(query.dtype)


@attention.torch
def _(
    t: Any, query: Any, key: Any, value: Any, seen: Any, seed: Any = None, *, heads: int, rate: float, stream: int
) -> Any:
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    if seen is not None:
        seen = (seen | ~seen.any(-1, keepdim=True))[:, None]
    if seed is None or not int(seed):
        return t.nn.functional.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2)
    logits = q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)
    weights = (logits if seen is None else logits.masked_fill(~seen, -t.inf)).softmax(-1)
    weights = dropout.rules["torch"](t, weights, seed, rate=rate, stream=stream)
    return (weights @ v).transpose(1, 2).flatten(2)


@attention.flops
def _(query: Any, key: Any, value: Any, *_: Any, out: Any, heads: int, **__: Any) -> int:
    return int(query[0] * query[1] * key[1] * (query[2] + value[2]))


@attention.onnx
def _(e: Any, query: Any, key: Any, value: Any, seen: Any, seed: Any = None, *, heads: int, **_: Any) -> Any:
    def split(x: Any, order: tuple[int, ...]) -> Any:
        n, k, c = e.type(x).dims
        return e.Transpose(e.Reshape(x, e.sizes((n, k, heads, (c.constant or heads) // heads))), perm=order)

    n, q, c = e.type(query).dims
    scale = e.constant(np.float32(((c.constant or heads) // heads) ** -0.5))
    logits = e.MatMul(e.Mul(split(query, (0, 2, 1, 3)), scale), split(key, (0, 2, 3, 1)))
    if seen is not None:
        blind = e.Equal(e.ReduceMax(e.Cast(seen, to=e.dtype("i32")), e.sizes((-1,))), e.constant(np.int32(0)))
        seen = e.Unsqueeze(e.Or(seen, blind), e.sizes((1,)))
        logits = e.Where(seen, logits, e.constant(np.float32(-np.inf)))
    joined = e.Transpose(e.MatMul(e.Softmax(logits, axis=-1), split(value, (0, 2, 1, 3))), perm=(0, 2, 1, 3))
    return e.Reshape(joined, e.sizes((n, q, e.type(value).dims[2])))


@attention.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 5, 8), (2, 7, 8), (2, 7, 4), None), {"heads": 2}
    keys = np.arange(7) < np.asarray([7, 3])[:, None]
    yield ((2, 5, 8), (2, 7, 8), (2, 7, 8), keys[:, None]), {"heads": 4}
    yield ((2, 5, 6), (2, 7, 6), (2, 7, 6), np.arange(7) < rng.integers(0, 7, (2, 5, 1))), {"heads": 1}


@op("f[*S C], f[C], f[C] -> f[*S C]", ROWWISE, FP32)
def layer_norm(x: Value, weight: Value, bias: Value, *, eps: float = 1e-5) -> Value:
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last axis (Ba et al. 2016, eq. 4)."""
    ...


@layer_norm.reference
def _(x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + x.dtype.type(eps)) * weight + bias


layer_norm.torch(lambda t, x, weight, bias, *, eps: t.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, eps))
layer_norm.onnx(lambda e, x, weight, bias, *, eps: e.LayerNormalization(x, weight, bias, axis=-1, epsilon=eps))


@layer_norm.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 8), (8,), (8,)), {}
    yield ((0, 4), (4,), (4,)), {"eps": 1e-3}


@op("f[*S] -> f[*S]")
def running_total(x: Value, *, axis: int) -> Value:
    """The sum along an axis up to each entry, that entry included."""
    ...


@running_total.infer
def _(x: Type, *, axis: int) -> Type:
    axis_of(axis, x)
    return Type(x.dtype, x.dims)


running_total.reference(lambda x, *, axis: x.cumsum(axis, x.dtype))
running_total.torch(lambda t, x, *, axis: x.cumsum(axis))
running_total.onnx(lambda e, x, *, axis: e.CumSum(x, e.scalar(axis)))


@running_total.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4),), {"axis": 1}
    yield ((2, 0),), {"axis": -1}


@op("f[*S] -> f[*S features]", ROWWISE, FP32)
def sine_encoding(x: Value, *, features: Positive, temperature: float = 10000.0) -> Value:
    """Sines and cosines in turn of x / temperature^(2i / features) (Vaswani et al. 2017, sec. 3.5); x in radians."""
    ...


@sine_encoding.infer
def _(x: Type, *, features: int, temperature: float) -> Type:
    if features % 2:
        raise BadAttribute("sines and cosines come in pairs", about="features")
    return Type(x.dtype, (*x.dims, Dim.of(features)))


def _periods(features: int, temperature: float) -> Any:
    return np.power(temperature, np.arange(0, features, 2) / features).astype(np.float32)


@sine_encoding.reference
def _(x: Any, *, features: int, temperature: float) -> Any:
    angle = x[..., None] / _periods(features, temperature)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(*x.shape, features).astype(x.dtype)


@sine_encoding.torch
def _(t: Any, x: Any, *, features: int, temperature: float) -> Any:
    angle = x[..., None] / t.from_numpy(_periods(features, temperature)).to(x)
    return t.stack((angle.sin(), angle.cos()), -1).flatten(-2)


@sine_encoding.onnx
def _(e: Any, x: Any, *, features: int, temperature: float) -> Any:
    last = e.sizes((-1,))
    angle = e.Unsqueeze(e.Div(e.Unsqueeze(x, last), e.constant(_periods(features, temperature))), last)
    return e.Reshape(e.Concat(e.Sin(angle), e.Cos(angle), axis=-1), e.sizes((*e.type(x).dims, features)))


@sine_encoding.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4),), {"features": 6}
    yield ((2, 3),), {"features": 4, "temperature": 20.0}
    yield ((0, 3),), {"features": 2}
