"""The neck of SSD: ever coarser levels behind the body's two (Liu et al. 2016, arXiv:1512.02325, fig. 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from graphdet import ops
from graphdet.blocks.conv import YOLO_NORM, conv, conv_module
from graphdet.ir import Value, parameter, scope

Extra = tuple[int, int, int, int]  # channels, kernel size, stride, padding


def ssd_neck(
    features: Sequence[Value],
    first: Callable[[Value, Value], list[Value]],
    layer: Callable[..., Value],
    extra: Sequence[Extra],
) -> list[Value]:
    """The body's two levels, then ever coarser ones: a 1x1 convolution to half the channels, a strided one (fig. 2)."""
    levels = first(*features)
    x = features[-1]
    for i, (out, size, stride, padding) in enumerate(extra):
        with scope(f"extra_layers.{i}"):
            x = layer("1", layer("0", x, out // 2), out, size=size, stride=stride, padding=padding)
        levels.append(x)
    return levels


def plain(name: str, x: Value, out: int, *, size: int = 1, stride: int = 1, padding: int = 0) -> Value:
    """Convolution and ReLU."""
    with scope(name):
        return ops.relu(conv("conv", x, out, size=size, stride=stride, padding=padding))


lite = partial(conv_module, norm=YOLO_NORM, act=ops.relu6)


def separable(name: str, x: Value, out: int, *, size: int = 1, stride: int = 1, padding: int = 0) -> Value:
    """SSDLite's layers (Sandler et al. 2018, sec. 6.2): a 1x1 convolution, or one a channel and a 1x1 convolution."""
    if size == 1:
        return lite(name, x, out, size=1)
    with scope(name):
        channels = x.dim(1).constant or 1
        return lite(
            "pointwise_conv",
            lite("depthwise_conv", x, channels, size=size, stride=stride, groups=channels),
            out,
            size=1,
        )


def normalised(c4: Value, c5: Value) -> list[Value]:
    """Conv4_3 with every pixel's channels scaled to length 1, then by learnt weights of about 20 (Liu et al. 2016b)."""
    n, _, h, w = c4.shape
    length = ops.reshape(ops.sqrt(ops.total(ops.square(c4), axes=(1,)) + 1e-20), shape=(n, 1, h, w))
    with scope("l2_norm"):
        weight = parameter("weight", c4.dim(1), init="constant", value=20.0)
    return [c4 / length * ops.reshape(weight, shape=(-1, 1, 1)), c5]
