"""Dense layers on feature maps: convolution, batch norm, pooling, upsampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.errors import BadAttribute
from graphdet.ir.graph import Value
from graphdet.ir.op import TRAIN, Natural, Positive, op
from graphdet.ir.types import Type
from graphdet.ops.math import Example


@op(
    "f[N C H W], f[O C/groups K L], f[O]? -> "
    "f[N O/groups*groups (H+2*padding-dilation*(K-1)-1)//stride+1 (W+2*padding-dilation*(L-1)-1)//stride+1]"
)
def conv2d(
    x: Value, weight: Value, bias: Value | None = None,
    *, stride: Positive = 1, padding: Natural = 0, dilation: Positive = 1, groups: Positive = 1,
) -> Value:  # fmt: skip
    """2-D cross-correlation with zero padding on all sides; weight is [out, in / groups, height, width]."""
    ...


@conv2d.reference
def _(x: Any, weight: Any, bias: Any, *, stride: int, padding: int, dilation: int, groups: int) -> Any:
    n, _, _, _ = x.shape
    o, i, k, m = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    h = (padded.shape[2] - dilation * (k - 1) - 1) // stride + 1
    w = (padded.shape[3] - dilation * (m - 1) - 1) // stride + 1
    out = np.zeros((n, groups, o // groups, h, w), x.dtype)
    for a in range(k):  # one shifted product per kernel cell: small memory, and BLAS does the channels
        for b in range(m):
            rows, columns = a * dilation, b * dilation
            cut = padded[
                :, :, rows : rows + (h - 1) * stride + 1 : stride, columns : columns + (w - 1) * stride + 1 : stride
            ]
            cut = np.ascontiguousarray(cut).reshape(n, groups, i, h * w)
            kernel = np.ascontiguousarray(weight[:, :, a, b]).reshape(groups, o // groups, i)
            out += np.matmul(kernel[None], cut).reshape(n, groups, o // groups, h, w)
    out = out.reshape(n, o, h, w)
    return out if bias is None else out + bias[:, None, None]


@conv2d.flops
def _(x: Any, weight: Any, *_: Any, out: Any, **__: Any) -> int:
    return int(np.prod(out) * np.prod(weight[1:]))


@conv2d.torch
def _(t: Any, x: Any, weight: Any, bias: Any, *, stride: int, padding: int, dilation: int, groups: int) -> Any:
    return t.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


@conv2d.onnx
def _(e: Any, x: Any, weight: Any, bias: Any, *, stride: int, padding: int, dilation: int, groups: int) -> Any:
    return e.Conv(x, weight, bias, strides=(stride,) * 2, pads=(padding,) * 4, dilations=(dilation,) * 2, group=groups)


@conv2d.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 8, 9), (4, 3, 3, 3), (4,)), {"padding": 1}
    yield ((1, 4, 9, 7), (6, 2, 3, 1), None), {"stride": 2, "groups": 2}
    yield ((1, 2, 9, 9), (2, 1, 3, 3), None), {"dilation": 2, "padding": 2, "groups": 2}
    yield ((0, 2, 4, 4), (2, 2, 1, 1), None), {}


@op("f[N C H W], f[C O K L], f[O]? -> f[N O (H-1)*stride+K-2*padding (W-1)*stride+L-2*padding]")
def conv_transpose2d(
    x: Value, weight: Value, bias: Value | None = None, *, stride: Positive = 1, padding: Natural = 0
) -> Value:
    """Transposed convolution: each input cell adds its kernel, scaled, at `stride` times its place.

    The gradient of `conv2d` towards its input. weight is [in, out, height, width]; `padding` cells are cut off all
    sides of the result.
    """
    ...


@conv_transpose2d.reference
def _(x: Any, weight: Any, bias: Any, *, stride: int, padding: int) -> Any:
    (n, c, h, w), (_, o, k, m) = x.shape, weight.shape
    whole = np.zeros((n, o, (h - 1) * stride + k, (w - 1) * stride + m), x.dtype)
    for a in range(k):
        for b in range(m):
            added = np.matmul(weight[:, :, a, b].T, x.reshape(n, c, h * w)).reshape(n, o, h, w)
            whole[:, :, a : a + (h - 1) * stride + 1 : stride, b : b + (w - 1) * stride + 1 : stride] += added
    out = whole[:, :, padding : whole.shape[2] - padding, padding : whole.shape[3] - padding]
    return out if bias is None else out + bias[:, None, None]


@conv_transpose2d.flops
def _(x: Any, weight: Any, *_: Any, out: Any, **__: Any) -> int:
    return int(np.prod(x) * np.prod(weight[1:]))


@conv_transpose2d.torch
def _(t: Any, x: Any, weight: Any, bias: Any, *, stride: int, padding: int) -> Any:
    return t.nn.functional.conv_transpose2d(x, weight, bias, stride, padding)


@conv_transpose2d.onnx
def _(e: Any, x: Any, weight: Any, bias: Any, *, stride: int, padding: int) -> Any:
    return e.ConvTranspose(x, weight, bias, strides=(stride,) * 2, pads=(padding,) * 4)


@conv_transpose2d.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4, 5), (3, 4, 2, 2), (4,)), {"stride": 2}
    yield ((1, 2, 5, 4), (2, 3, 4, 4), None), {"stride": 2, "padding": 1}
    yield ((2, 2, 3, 3), (2, 2, 3, 3), (2,)), {"padding": 1}
    yield ((0, 2, 3, 3), (2, 2, 2, 2), None), {"stride": 2}


@op("f[N C *S], f[C], f[C], f[C], f[C] -> f[N C *S]")
def batch_norm(x: Value, weight: Value, bias: Value, mean: Value, var: Value, *, eps: float = 1e-5) -> Value:
    """(x - mean) / sqrt(var + eps) * weight + bias a channel, by stored statistics (Ioffe and Szegedy 2015, alg. 2)."""
    ...


def _column(v: Any, rank: int) -> Any:
    return v.reshape(-1, *([1] * (rank - 2)))


@batch_norm.reference
def _(x: Any, weight: Any, bias: Any, mean: Any, var: Any, *, eps: float) -> Any:
    scale = weight / np.sqrt(var + x.dtype.type(eps))
    return (x - _column(mean, x.ndim)) * _column(scale, x.ndim) + _column(bias, x.ndim)


@batch_norm.torch
def _(t: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, *, eps: float) -> Any:
    return t.nn.functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


batch_norm.onnx(lambda e, x, w, b, m, v, *, eps: e.BatchNormalization(x, w, b, m, v, epsilon=eps))


@batch_norm.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4, 5), (3,), (3,), (3,), np.asarray([1.0, 0.5, 2.0], np.float32)), {"eps": 1e-3}


@op("f[N C *S], f[C], f[C], f[C], f[C], i64[] -> f[N C *S]", TRAIN)
def batch_norm_train(
    x: Value,
    weight: Value,
    bias: Value,
    mean: Value,
    var: Value,
    seen: Value,
    *,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> Value:
    """Batch norm by the statistics of the batch (Ioffe and Szegedy 2015, alg. 1).

    The PyTorch module also updates the buffers: mean += momentum * (batch mean - mean), var likewise with the unbiased
    batch variance, seen += 1.
    """
    ...


@batch_norm_train.reference
def _(x: Any, weight: Any, bias: Any, mean: Any, var: Any, seen: Any, *, eps: float, momentum: float) -> Any:
    axes = (0, *range(2, x.ndim))
    centred = x - x.mean(axes, keepdims=True)
    scale = weight / np.sqrt((centred**2).mean(axes) + x.dtype.type(eps))
    return centred * _column(scale, x.ndim) + _column(bias, x.ndim)


@batch_norm_train.torch
def _(t: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, seen: Any, *, eps: float, momentum: float) -> Any:
    with t.no_grad():
        seen.add_(1)
    return t.nn.functional.batch_norm(x, mean, var, weight, bias, True, momentum, eps)


batch_norm_train.no("onnx", "training only: an inference trace holds batch_norm")


@batch_norm_train.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4, 5), (3,), (3,), (3,), np.ones(3, np.float32), np.asarray(0)), {"eps": 1e-3, "momentum": 0.03}


@op("f[*S C], f[O C], f[O]? -> f[*S O]")
def linear(x: Value, weight: Value, bias: Value | None = None) -> Value:
    """Rows times a matrix, x weight^T + bias; weight is [out, in]."""
    ...


@linear.reference
def _(x: Any, weight: Any, bias: Any) -> Any:
    out = x @ weight.T
    return out if bias is None else out + bias


linear.torch(lambda t, x, weight, bias: t.nn.functional.linear(x, weight, bias))
linear.flops(lambda x, weight, *_, out: int(np.prod(out)) * weight[1])


@linear.onnx
def _(e: Any, x: Any, weight: Any, bias: Any) -> Any:
    if e.type(x).rank != 2:
        rows = e.MatMul(x, e.Transpose(weight, perm=(1, 0)))
        return rows if bias is None else e.Add(rows, bias)
    return e.Gemm(x, weight, transB=1) if bias is None else e.Gemm(x, weight, bias, transB=1)


@linear.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((3, 4), (5, 4), (5,)), {}
    yield ((3, 4), (2, 4), None), {}
    yield ((0, 4), (2, 4), (2,)), {}
    yield ((2, 3, 4), (5, 4), (5,)), {}
    yield ((2, 0, 4), (5, 4), None), {}


@op("f[N C H W] -> f[N C (H+2*padding-size)//stride+1 (W+2*padding-size)//stride+1]")
def max_pool(x: Value, *, size: Positive, stride: Positive = 1, padding: Natural = 0, partial: bool = False) -> Value:
    """Maximum over size x size windows; the border is padded with minus infinity.

    partial: a last window that begins inside the map counts although it ends outside; then `size` is at most `stride`.
    """
    ...


@max_pool.infer
def _(x: Type, *, size: int, stride: int, padding: int, partial: bool) -> Type:
    if 2 * padding > size:
        raise BadAttribute(
            f"max_pool: padding {padding} is more than half of the window {size}: some windows would be empty"
        )
    if partial and (size > stride or padding):
        raise BadAttribute("max_pool: partial windows overlap no others and have no padding", about="partial")
    rest = stride - 1 if partial else 0
    n, c, h, w = x.dims
    return x.with_dims(
        (n, c, (h + 2 * padding - size + rest) // stride + 1, (w + 2 * padding - size + rest) // stride + 1)
    )


@max_pool.reference
def _(x: Any, *, size: int, stride: int, padding: int, partial: bool) -> Any:
    more = [padding + (-(side - size) % stride if partial else 0) for side in x.shape[2:]]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, more[0]), (padding, more[1])), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))
    return windows[:, :, ::stride, ::stride].max((-2, -1))


@max_pool.torch
def _(t: Any, x: Any, *, size: int, stride: int, padding: int, partial: bool) -> Any:
    return t.nn.functional.max_pool2d(x, size, stride, padding, ceil_mode=partial)


@max_pool.onnx
def _(e: Any, x: Any, *, size: int, stride: int, padding: int, partial: bool) -> Any:
    return e.MaxPool(x, kernel_shape=(size,) * 2, strides=(stride,) * 2, pads=(padding,) * 4, ceil_mode=int(partial))


@max_pool.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 8, 9),), {"size": 3, "stride": 2, "padding": 1}
    yield ((1, 2, 6, 6),), {"size": 5, "padding": 2}
    yield ((1, 2, 7, 8),), {"size": 2, "stride": 2, "partial": True}


@op("f[N C H W] -> f[N C H*scale W*scale]")
def upsample(x: Value, *, scale: Positive = 2) -> Value:
    """Nearest-neighbour enlargement by an integer factor: each pixel becomes a scale x scale block."""
    ...


upsample.reference(lambda x, *, scale: x.repeat(scale, 2).repeat(scale, 3))
upsample.torch(lambda t, x, *, scale: t.nn.functional.interpolate(x, scale_factor=scale, mode="nearest"))


@upsample.onnx
def _(e: Any, x: Any, *, scale: int) -> Any:
    factors = e.constant(np.asarray([1, 1, scale, scale], np.float32))
    return e.Resize(x, None, factors, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@upsample.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4, 5),), {"scale": 2}
    yield ((1, 1, 3, 3),), {"scale": 3}
