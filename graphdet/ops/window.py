"""Neighbourhoods of another kind than a convolution's: content-aware upsampling, corner pooling, masked convolution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute, ShapeMismatch
from graphdet.ir.graph import Value
from graphdet.ir.op import SAME, Natural, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.dense import conv2d
from graphdet.ops.math import Example, greater, where
from graphdet.ops.shape import reshape


@op("f[N C H W], f[N groups*size*size H*scale W*scale] -> f[N C H*scale W*scale]")
def carafe(x: Value, kernels: Value, *, size: Positive = 5, groups: Positive = 1, scale: Positive = 2) -> Value:
    """Content-aware upsampling (Wang et al. 2019, section 3.2): each output pixel weighs a window of the input itself.

    The window is size x size pixels (an odd number) around the input pixel that the output pixel falls in, with zeros
    around the map. `kernels` holds the weights, usually from a softmax: channels (group, row, column). Each group
    weighs its share of the channels.
    """
    ...


@carafe.infer
def _(x: Type, kernels: Type, *, size: int, groups: int, scale: int) -> Type:
    if size % 2 == 0:
        raise BadAttribute(f"the window's size {size} is even: it has no middle", about="size")
    n, channels, height, width = x.dims
    if channels // groups * groups != channels:
        raise ShapeMismatch(f"has {channels} channels, which do not split into {groups} groups", about=0)
    return x.with_dims((n, channels, height * scale, width * scale))


def _shifts(size: int) -> Iterator[tuple[int, slice, slice]]:
    """(number, rows, columns) of each of a window's pixels in a map with a border of size // 2."""
    for i in range(size * size):
        down, right = divmod(i, size)
        ends = [None if d == size - 1 else d + 1 - size for d in (down, right)]
        yield i, slice(down, ends[0]), slice(right, ends[1])


@carafe.reference
def _(x: Any, kernels: Any, *, size: int, groups: int, scale: int) -> Any:
    n, channels, height, width = x.shape
    weights = kernels.reshape(n, groups, 1, size * size, height * scale, width * scale)
    border = (size // 2,) * 2
    padded = np.pad(x, ((0, 0), (0, 0), border, border))
    out = np.zeros((n, groups, channels // groups, height * scale, width * scale), x.dtype)
    for i, rows, columns in _shifts(size):
        moved = padded[:, :, rows, columns].repeat(scale, 2).repeat(scale, 3)
        out += moved.reshape(out.shape) * weights[:, :, :, i]
    return out.reshape(n, channels, height * scale, width * scale)


@carafe.torch
def _(t: Any, x: Any, kernels: Any, *, size: int, groups: int, scale: int) -> Any:
    n, channels, height, width = x.shape
    weights = kernels.reshape(n, groups, 1, size * size, height, scale, width, scale)
    padded = t.nn.functional.pad(x, (size // 2,) * 4)
    out: Any = 0
    for i, rows, columns in _shifts(size):
        moved = padded[:, :, rows, columns].reshape(n, groups, channels // groups, height, 1, width, 1)
        out = out + moved * weights[:, :, :, i]
    return out.reshape(n, channels, height * scale, width * scale)


carafe.flops(lambda x, kernels, *, size, groups, scale, out: int(np.prod(out)) * size * size)


@carafe.onnx
def _(e: Any, x: Any, kernels: Any, *, size: int, groups: int, scale: int) -> Any:
    n, channels, height, width = e.type(x).dims
    weights = e.Reshape(kernels, e.sizes((n, groups, size * size, height, scale, width, scale)))
    border = size // 2
    padded = e.Pad(x, e.sizes((0, 0, border, border, 0, 0, border, border)))
    out: Any = None
    for i in range(size * size):
        down, right = divmod(i, size)
        low, high = e.sizes((down, right)), e.sizes((height + down, width + right))
        moved = e.Slice(padded, low, high, e.sizes((2, 3)))
        moved = e.Reshape(moved, e.sizes((n, groups, channels // groups, height, 1, width, 1)))
        weight = e.Unsqueeze(e.Gather(weights, e.scalar(i), axis=2), e.sizes((2,)))
        out = e.Mul(moved, weight) if out is None else e.Add(out, e.Mul(moved, weight))
    return e.Reshape(out, e.sizes((n, channels, height * scale, width * scale)))


carafe.native("carafe")


@carafe.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 4, 3, 4), (2, 18, 6, 8)), {"size": 3, "groups": 2}
    yield ((1, 3, 4, 3), (1, 25, 4, 3)), {"scale": 1}
    yield ((1, 1, 2, 2), (1, 1, 6, 6)), {"size": 1, "scale": 3}


_SIDES = {"top": (-2, True), "bottom": (-2, False), "left": (-1, True), "right": (-1, False)}


@op("f[N C H W] -> f[N C H W]", SAME)
def corner_pool(x: Value, *, side: str) -> Value:
    """The maximum of each pixel and all those on its other side (Law and Deng 2018, section 3.3): NaN if one is NaN.

    side: the corner's border that the pixel stands on, `top` (looks down), `bottom` (up), `left` (right) or `right`
    (left). In training the gradient goes to the pixel that is the maximum, of equal ones to the nearest.
    """
    ...


@corner_pool.infer
def _(x: Type, *, side: str) -> Type:
    if side not in _SIDES:
        raise BadAttribute(f"attribute 'side' is {side!r}, expected one of {', '.join(_SIDES)}", about="side")
    return x


@corner_pool.reference
def _(x: Any, *, side: str) -> Any:
    axis, back = _SIDES[side]
    whole = np.flip(x, axis) if back else x
    found = np.maximum.accumulate(whole, axis)
    return np.ascontiguousarray(np.flip(found, axis) if back else found)


@corner_pool.torch
def _(t: Any, x: Any, *, side: str) -> Any:
    axis, back = _SIDES[side]
    if not x.shape[axis]:
        return x
    found = (x.flip(axis) if back else x).cummax(axis).values
    return found.flip(axis) if back else found


_MOST = 12  # doublings that cover any map whose size is not known: 4096 pixels


@corner_pool.onnx
def _(e: Any, x: Any, *, side: str) -> Any:
    """The window that a pixel has seen doubles with each step: the map against itself, moved."""
    axis, back = _SIDES[side]
    size = e.type(x).dims[axis]
    at, lowest = 4 + axis, e.constant(np.float32(-np.inf))
    for step in range(_MOST if size.constant is None else max(size.constant - 1, 0).bit_length()):
        border = [0] * 8
        border[at + (4 if back else 0)] = 2**step
        padded = e.Pad(x, e.sizes(tuple(border)), lowest)
        first = 2**step if back else 0
        moved = e.Slice(padded, e.sizes((first,)), e.sizes((size + first,)), e.sizes((at,)))
        x = e.Max(x, moved)
    return x if x.startswith("_") else e.Identity(x)


corner_pool.native("corner_pool")


@corner_pool.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    for side in _SIDES:
        yield ((2, 3, 5, 7),), {"side": side}
    yield ((1, 2, 1, 1),), {"side": "left"}


_CONV = "(H+2*padding-K)//stride+1 (W+2*padding-L)//stride+1"


@op(f"f[N C H W], f[O C K L], f[N {_CONV}], f[O]? -> f[N O {_CONV}]")
def masked_conv2d(
    x: Value, weight: Value, mask: Value, bias: Value | None = None, *, stride: Positive = 1, padding: Natural = 0
) -> Value:
    """A convolution where the mask exceeds 0, and 0 elsewhere (Wang et al. 2019, guided anchoring, section 3.5).

    The mask saves work in inference alone: guided anchoring trains on the ordinary convolution, so the kernel has a
    forward form; PyTorch differentiates the op through its decomposition, whose gradient is 0 where the mask is.
    """
    ...


@masked_conv2d.reference
def _(x: Any, weight: Any, mask: Any, bias: Any, *, stride: int, padding: int) -> Any:
    whole = conv2d.rules["reference"](x, weight, bias, stride=stride, padding=padding, dilation=1, groups=1)
    return np.where(mask[:, None] > 0, whole, np.zeros((), x.dtype))


@masked_conv2d.flops
def _(x: Any, weight: Any, *_: Any, out: Any, **__: Any) -> int:
    return int(np.prod(out) * np.prod(weight[1:]))


@masked_conv2d.decompose
def _(x: Value, weight: Value, mask: Value, bias: Value | None, *, stride: int, padding: int) -> Value:
    n, p, q = mask.shape
    whole = conv2d(x, weight, bias, stride=stride, padding=padding)
    return where(greater(reshape(mask, shape=(n, 1, p, q)), 0.0), whole, 0.0)


masked_conv2d.native("masked_conv2d")


@masked_conv2d.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 6, 7), (4, 3, 3, 3), rng.uniform(-1, 0.7, (2, 6, 7)).astype(np.float32), (4,)), {"padding": 1}
    yield ((1, 2, 5, 5), (2, 2, 3, 3), np.zeros((1, 2, 2), np.float32), None), {"stride": 2}
