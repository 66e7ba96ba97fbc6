"""Reductions over axes, and one-hot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, ROWWISE, TRAIN, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.math import Example
from graphdet.ops.shape import axis_of


@op("T[*S] -> T[*R]")
def total(x: Value, *, axes: tuple[int, ...] = ()) -> Value:
    """Sum over the axes (all of them when none is named); the axes vanish. The sum of nothing is 0."""
    ...


@total.infer
def _(x: Type, *, axes: tuple[int, ...]) -> Type:
    gone = {axis_of(a, x) for a in axes}
    if len(gone) < len(axes):
        raise BadAttribute(f"axes {axes} name an axis twice: 'x' is {x}", about="axes")
    gone = gone or set(range(x.rank))
    return Type(x.dtype, tuple(d for i, d in enumerate(x.dims) if i not in gone))


total.reference(lambda x, *, axes: np.asarray(x.sum(axes or None), x.dtype))
total.torch(lambda t, x, *, axes: x.sum(axes) if axes else x.sum())
total.onnx(lambda e, x, *, axes: e.ReduceSum(x, e.sizes(axes), keepdims=0) if axes else e.ReduceSum(x, keepdims=0))


@total.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4),), {"axes": ()}
    yield ((2, 3, 4),), {"axes": (1, -1)}
    yield ((2, 0),), {"axes": (1,)}


@op("T[*S] -> T[*S]", TRAIN)
def mean_over_processes(x: Value) -> Value:
    """The mean of this value over the processes that train together; the value itself where there is one.

    For what losses are divided by, so that the sum over all processes does not depend on their number. No gradient.
    """
    ...


@mean_over_processes.torch
def _(t: Any, x: Any) -> Any:
    if not (t.distributed.is_available() and t.distributed.is_initialized()):
        return x.detach()
    total = x.detach().clone()
    t.distributed.all_reduce(total)
    return total / t.distributed.get_world_size()


mean_over_processes.reference(lambda x: x)
mean_over_processes.no("onnx", "training only")


@mean_over_processes.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3),), {}
    yield ((),), {}


def _rows(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4),), {}
    yield (np.asarray([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], np.float32),), {}
    yield ((0, 4),), {}


@op("T[*S C] -> T[*S]", ROWWISE)
def best(x: Value) -> Value:
    """The largest entry along the last axis."""
    ...


best.reference(lambda x: x.max(-1))
best.torch(lambda t, x: x.amax(-1))
best.onnx(lambda e, x: e.ReduceMax(x, e.sizes((-1,)), keepdims=0))
best.examples(_rows)


@op("T[*S C] -> labels[*S]", ROWWISE)
def best_index(x: Value) -> Value:
    """Where the largest entry along the last axis stands; the first one of equals."""
    ...


best_index.reference(lambda x: x.argmax(-1) if x.size else np.zeros(x.shape[:-1], np.int64))
best_index.torch(lambda t, x: x.argmax(-1))
best_index.onnx(lambda e, x: e.ArgMax(x, axis=-1, keepdims=0))
best_index.examples(_rows)


@op("logits[*S C] -> scores[*S C]", ROWWISE, FP32)
def softmax(x: Value) -> Value:
    """exp(x) over its sum along the last axis: turns the logits of exclusive classes into scores that sum to 1."""
    ...


@softmax.reference
def _(x: Any) -> Any:
    grown = np.exp(x - x.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)


softmax.torch(lambda t, x: x.softmax(-1))
softmax.onnx(lambda e, x: e.Softmax(x, axis=-1))


@softmax.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 5),), {}
    yield (np.asarray([[100.0, -100.0, 99.0], [0.0, 0.0, 0.0]], np.float32),), {}


@op("f[*S] -> scores[*S]", ROWWISE)
def as_scores(x: Value) -> Value:
    """Declare that numbers rank objects, from 0 to 1: products of scores with other shares. Nothing is computed."""
    ...


as_scores.reference(lambda x: x)
as_scores.torch(lambda t, x: x)
as_scores.onnx(lambda e, x: e.Identity(x))
as_scores.examples(_rows)


@op("i64[*S] -> f[*S classes]")
def one_hot(labels: Value, *, classes: Positive) -> Value:
    """1 at each label, 0 elsewhere; a label outside 0..classes-1 (background, ignored) gives a row of zeros."""
    ...


one_hot.infer(lambda labels, *, classes: Type("f32", (*labels.dims, Dim.of(classes))))
one_hot.reference(lambda labels, *, classes: (labels[..., None] == np.arange(classes)).astype(np.float32))
one_hot.torch(
    lambda t, labels, *, classes: (labels[..., None] == t.arange(classes, device=labels.device)).to(t.float32)
)
one_hot.onnx(
    lambda e, labels, *, classes: e.Cast(
        e.Equal(e.Unsqueeze(labels, e.sizes((-1,))), e.constant(np.arange(classes))), to=e.dtype("f32")
    )
)


@one_hot.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.integers(-1, 4, (2, 5)),), {"classes": 3}
