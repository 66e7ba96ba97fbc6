"""Bilinear resizing of feature maps, and products of matrices a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.dims import Dim, DimLike
from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, op
from graphdet.ir.types import Type
from graphdet.ops.math import Example


@op("f[N C H W] -> f[N C A B]", FP32)
def resize(x: Value, *, height: DimLike, width: DimLike) -> Value:
    """Bilinear interpolation between pixel centres to another size; beyond the outer centres the border repeats."""
    ...


@resize.infer
def _(x: Type, *, height: DimLike, width: DimLike) -> Type:
    return Type(x.dtype, (*x.dims[:2], Dim.of(height), Dim.of(width)))


def _weights(count: int, out: int) -> Any:
    """A matrix [out count] that interpolates a line."""
    at = np.clip((np.arange(out) + 0.5) * (count / out) - 0.5, 0, count - 1)
    low = np.minimum(np.floor(at).astype(int), max(count - 2, 0))
    part = at - low
    matrix = np.zeros((out, count), np.float32)
    matrix[np.arange(out), low] += 1 - part
    matrix[np.arange(out), np.minimum(low + 1, count - 1)] += part
    return matrix


@resize.reference
def _(x: Any, *, height: int, width: int) -> Any:
    return (_weights(x.shape[2], height) @ x @ _weights(x.shape[3], width).T).astype(x.dtype)


@resize.torch
def _(t: Any, x: Any, *, height: int, width: int) -> Any:
    return t.nn.functional.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


@resize.onnx
def _(e: Any, x: Any, *, height: DimLike, width: DimLike) -> Any:
    n, c = e.type(x).dims[:2]
    sizes = e.sizes((n, c, height, width))
    return e.Resize(x, None, None, sizes, mode="linear", coordinate_transformation_mode="half_pixel")


@resize.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4, 5),), {"height": 8, "width": 10}
    yield ((1, 2, 9, 7),), {"height": 4, "width": 5}
    yield ((1, 1, 1, 3),), {"height": 2, "width": 3}


@op("f[N A K], f[N K B] -> f[N A B]")
def matmul(a: Value, b: Value) -> Value:
    """The product of two matrices, image by image."""
    ...


matmul.reference(lambda a, b: a @ b)
matmul.torch(lambda t, a, b: t.bmm(a, b))
matmul.onnx(lambda e, a, b: e.MatMul(a, b))
matmul.flops(lambda a, b, *, out: int(np.prod(out)) * a[2])


@matmul.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4), (2, 4, 5)), {}
    yield ((2, 0, 4), (2, 4, 3)), {}
