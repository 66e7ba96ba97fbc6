"""Reshape, transpose, concatenate, slice, gather: the numbers stay, their places change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute, BakedDim, ShapeMismatch
from graphdet.ir.dims import Dim, DimLike, minimum, product
from graphdet.ir.graph import Operand, Value
from graphdet.ir.op import op
from graphdet.ir.signature import TAKE_FROM_VALUE
from graphdet.ir.types import Type
from graphdet.ops.math import Example


@op("T[*S] -> T[*R]")
def reshape(x: Value, *, shape: tuple[DimLike, ...]) -> Value:
    """The same elements in C order under another shape; one size may be -1, which is computed from the others."""
    ...


@reshape.infer
def _(x: Type, *, shape: tuple[DimLike, ...]) -> Type:
    sizes = [Dim.of(d) for d in shape if d != -1]
    if len(sizes) < len(shape) - 1:
        raise BadAttribute(f"shape {shape} has more than one -1", about="shape")
    symbolic = any(d.constant is None for d in x.dims)
    if x.dims[:1] == (BATCH,) and len(sizes) < len(shape) and _is_number(shape[0]):
        text = f"'x' is {x}: {shape[0]} is written for its batch {BATCH}, and -1 would join the images"
        raise BakedDim(text, help=TAKE_FROM_VALUE, about="shape")
    whole, part = product(x.dims), product(tuple(sizes))
    rest = _quotient(whole, part)
    if rest is None if len(sizes) < len(shape) else whole != part:
        wanted = " ".join(str(d) for d in shape)
        baked = symbolic and len(sizes) == len(shape) and not any(d.symbols for d in sizes)
        kind = BakedDim if baked else ShapeMismatch
        text = f"'x' is {x}: its {whole} elements do not fit [{wanted}]"
        raise kind(text, help=TAKE_FROM_VALUE if baked else "", about="shape")
    return x.with_dims(tuple(rest if d == -1 and rest is not None else d for d in shape))


BATCH = Dim.symbol("N")


def _is_number(size: DimLike) -> bool:
    return size != -1 and Dim.of(size).constant is not None


def _quotient(whole: Dim, part: Dim) -> Dim | None:
    """The quotient where it is exact for all sizes, else None."""
    if part == 0:
        return None
    try:
        return whole / part.constant if part.constant is not None else whole // part
    except ArithmeticError:
        return None


reshape.reference(lambda x, *, shape: x.reshape(shape))
reshape.torch(lambda t, x, *, shape: x.reshape(shape))
reshape.onnx(lambda e, x, *, shape: e.Reshape(x, e.sizes(shape)))


@reshape.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4),), {"shape": (2, -1)}
    yield ((0, 4),), {"shape": (-1, 2, 2)}
    yield ((0, 4),), {"shape": (0, 2, 2)}


@op("T[*S] -> T[*R]")
def expand(x: Operand, *, shape: tuple[DimLike, ...]) -> Value:
    """The value repeated along new leading axes and along axes of size 1, to the given shape."""
    ...


@expand.infer
def _(x: Type, *, shape: tuple[DimLike, ...]) -> Type:
    dims = tuple(Dim.of(d) for d in shape)
    if x.rank > len(dims) or any(d not in (1, e) for d, e in zip(reversed(x.dims), reversed(dims), strict=False)):
        raise ShapeMismatch(f"'x' is {x}, which does not repeat to [{' '.join(map(str, dims))}]", about="shape")
    return x.with_dims(dims)


expand.reference(lambda x, *, shape: np.ascontiguousarray(np.broadcast_to(x, shape)))
expand.torch(lambda t, x, *, shape: x.expand(shape))
expand.onnx(lambda e, x, *, shape: e.Expand(x, e.sizes(shape)))


@expand.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((3, 4),), {"shape": (2, 3, 4)}
    yield ((2, 1, 4),), {"shape": (2, 5, 4)}
    yield ((),), {"shape": (0, 2)}


@op("T[*S] -> T[*R]")
def transpose(x: Value, *, order: tuple[int, ...]) -> Value:
    """Permute the axes: result axis i is operand axis order[i]."""
    ...


@transpose.infer
def _(x: Type, *, order: tuple[int, ...]) -> Type:
    if sorted(order) != list(range(x.rank)):
        raise BadAttribute(f"transpose: order {order} is not a permutation of the {x.rank} axes")
    return x.with_dims(tuple(x.dims[i] for i in order))


transpose.reference(lambda x, *, order: x.transpose(order))
transpose.torch(lambda t, x, *, order: x.permute(order))
transpose.onnx(lambda e, x, *, order: e.Transpose(x, perm=order))


@transpose.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4, 5),), {"order": (0, 2, 3, 1)}


def axis_of(axis: int, x: Type) -> int:
    """The axis counted from the front. Raises BadAttribute for one that the value does not have."""
    if not -x.rank <= axis < x.rank:
        raise BadAttribute(f"there is no axis {axis}: the value is {x}")
    return axis % x.rank


@op("T[*S]* -> T[*S]")
def concat(*xs: Value, axis: int) -> Value:
    """Join values along an axis; all other sizes and the meaning must agree."""
    ...


@concat.infer
def _(*xs: Type, axis: int) -> Type:
    first = xs[0]
    k = axis_of(axis, first)
    for i, x in enumerate(xs[1:], 1):
        if x.dims[:k] != first.dims[:k] or x.dims[k + 1 :] != first.dims[k + 1 :]:
            raise ShapeMismatch(f"is {x}, expected {first} as operand 0 is; only axis {axis} may differ", about=i)
    total = sum((x.dims[k] for x in xs), Dim.of(0))
    return first.with_dims((*first.dims[:k], total, *first.dims[k + 1 :]))


concat.reference(lambda *xs, axis: np.concatenate(xs, axis))
concat.torch(lambda t, *xs, axis: t.cat(xs, axis))
concat.onnx(lambda e, *xs, axis: e.Concat(*xs, axis=axis))
concat.native("concat")


@concat.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4), (2, 5, 4)), {"axis": 1}
    yield ((2, 3), (2, 3), (2, 0)), {"axis": -1}


Key = tuple[Any, ...]


@op("T[*S] -> T[*R]")
def index(x: Value, *, key: Key) -> Value:
    """NumPy's basic indexing: each key item is an int (drops the axis), a (start, stop, step) tuple, or '...'.

    Written `x[:, 1:3]`. Negative starts and stops count from the end, as in Python; steps are positive.
    """
    ...


def _items(key: Key, rank: int) -> list[Any]:
    """One key item per axis."""
    items = list(key)
    whole = (None, None, None)
    if "..." in items:
        at = items.index("...")
        items[at : at + 1] = [whole] * (rank - len(items) + 1)
    if len(items) > rank:
        raise BadAttribute(f"{len(items)} items for a value with {rank} axes")
    return items + [whole] * (rank - len(items))


@index.infer
def _(x: Type, *, key: Key) -> Type:
    dims = []
    for item, dim in zip(_items(key, x.rank), x.dims, strict=True):
        if isinstance(item, tuple):
            start, stop, step = item
            dims.append(_cut(start, stop, step, dim))
        elif dim.constant is not None and not -dim.constant <= item < dim.constant:
            raise ShapeMismatch(f"{item} lies outside of an axis of {dim}: 'x' is {x}")
    return x.with_dims(tuple(dims))


def _cut(start: DimLike | None, stop: DimLike | None, step: int | None, dim: Dim) -> Dim:
    """How much of an axis a slice takes: none where it stops before it starts."""
    stride = 1 if step is None else step
    if stride < 1:
        raise BadAttribute(f"a step of {step} in [...]; steps are positive", about="key")
    first = 0 if start is None else start
    high = dim if stop is None else _position(stop, dim)
    low = (
        first if first in range(stride) else minimum(_position(first, dim), high)
    )  # rounding up forgives less than a step
    return (high - low + stride - 1) // stride


def _position(at: DimLike, dim: Dim) -> Dim:
    """A slice's bound counted from the front, within the axis."""
    place = Dim.of(at)
    if place.constant is not None and place.constant < 0:
        return dim - minimum(-place, dim)
    return minimum(place, dim)


def _slices(key: Key, rank: int) -> tuple[Any, ...]:
    return tuple(slice(*item) if isinstance(item, tuple) else item for item in _items(key, rank))


index.reference(lambda x, *, key: x[_slices(key, x.ndim)])
index.torch(lambda t, x, *, key: x[_slices(key, x.dim())])


@index.onnx
def _(e: Any, x: Any, *, key: Key) -> Any:
    end = np.iinfo(np.int64).max
    items = _items(key, e.type(x).rank)
    cuts = [
        (i, *(item if isinstance(item, tuple) else (item, item + 1 or end, 1)))
        for i, item in enumerate(items)
        if item != (None, None, None)
    ]
    if cuts:
        starts = e.sizes(tuple(s or 0 for _, s, _, _ in cuts))
        stops = e.sizes(tuple(end if s is None else s for _, _, s, _ in cuts))
        x = e.Slice(x, starts, stops, e.sizes(tuple(c[0] for c in cuts)), e.sizes(tuple(c[3] or 1 for c in cuts)))
    drop = tuple(i for i, item in enumerate(items) if not isinstance(item, tuple))
    return e.Squeeze(x, e.sizes(drop)) if drop else x


@index.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 6, 4),), {"key": ("...", (None, None, 2))}
    yield ((2, 6, 4),), {"key": ((None, None, None), (1, -1, None))}
    yield ((2, 6, 4),), {"key": ("...", 3)}
    yield ((2, 6, 4),), {"key": ("...", -1)}
    yield ((2, 6, 4),), {"key": ((None, 100, None), (-9, None, 2), (3, 1, None))}
    yield ((3, 6, 4),), {"key": ((-2, None, None), (2, 5, None), (1, -1, 2))}


@op("T[*S D], i64[N K] -> T[N K D]")
def gather_rows(x: Value, index: Value) -> Value:
    """Row index[n, k] of x[n] (or of x, when the rows are the same for every image), as [N K D]."""
    ...


@gather_rows.infer
def _(x: Type, index: Type) -> Type:
    if x.rank not in (2, 3):
        raise ShapeMismatch(f"is {x} with {x.rank} dims, expected T[R D] or T[N R D]", about=0)
    if x.rank == 3 and x.dims[0] != index.dims[0]:
        raise ShapeMismatch(f"has rows of {index.dims[0]} images, expected {x.dims[0]} as 'x' has", about=1)
    return x.with_dims((*index.dims, x.dims[-1]))


gather_rows.reference(lambda x, index: x[index] if x.ndim == 2 else np.take_along_axis(x, index[..., None], 1))
gather_rows.torch(
    lambda t, x, index: x[index] if x.dim() == 2 else t.gather(x, 1, index[..., None].expand(-1, -1, x.shape[-1]))
)
gather_rows.onnx(
    lambda e, x, index: (
        e.Gather(x, index, axis=0)
        if e.type(x).rank == 2
        else e.GatherND(x, e.Unsqueeze(index, e.sizes((-1,))), batch_dims=1)
    )
)
gather_rows.native("gather_rows")


@gather_rows.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 7, 4), rng.integers(0, 7, (2, 5))), {}
    yield ((7, 4), rng.integers(0, 7, (2, 5))), {}
    yield ((2, 7, 4), np.zeros((2, 0), np.int64)), {}


@op("T[N A], i64[N K] -> T[N K]")
def gather(x: Value, index: Value) -> Value:
    """Entry index[n, k] of x[n]."""
    ...


gather.reference(lambda x, index: np.take_along_axis(x, index, 1))
gather.torch(lambda t, x, index: x.gather(1, index))
gather.onnx(lambda e, x, index: e.GatherElements(x, index, axis=1))
gather.native("gather")


@gather.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 7), rng.integers(0, 7, (2, 5))), {}
    yield ((2, 7), np.zeros((2, 0), np.int64)), {}
