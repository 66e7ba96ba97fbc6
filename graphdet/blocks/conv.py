"""Convolution blocks. The first argument names the block's parameters under the current scope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphdet import ops
from graphdet.errors import BadAttribute
from graphdet.ir.graph import Value
from graphdet.ir.source import here, render
from graphdet.ir.trace import by_phase, parameter, scope

Activation = Callable[[Value], Value]
Unit = Callable[..., Value]  # of (name, x, out, size=, stride=): `conv_unit` or one with a norm


@dataclass(frozen=True)
class Norm:
    """How batch norm trains. stored: always use the stored statistics; trainable: scale and shift learn."""

    eps: float = 1e-5
    momentum: float = 0.1
    stored: bool = False
    trainable: bool = True


def conv(
    name: str,
    x: Value,
    out: int,
    *,
    size: int = 3,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    padding: int | None = None,
    bias: bool = True,
    trainable: bool = True,
    gain: float = 1.0,
    deviation: float = 0.0,
    bias_value: float = 0.0,
) -> Value:
    """A convolution, with "same" padding if no other; parameters `name.weight`, `name.bias`.

    gain: of the He initialisation · deviation: standard deviation of the initial weights instead. Raises BadAttribute
    if x's channels are not a number.
    """
    channels = x.dim(1).constant
    if channels is None or channels % groups:
        raise BadAttribute(
            f"conv {name!r}: {x.dim(1)} channels do not split into {groups} groups", where=render(here())
        )
    init = {"init": "normal", "value": deviation} if deviation else {"init": "kaiming", "value": gain}
    with scope(name):
        weight = parameter("weight", out, channels // groups, size, size, trainable=trainable, **init)  # type: ignore[arg-type]
        shift = parameter("bias", out, init="constant", value=bias_value, trainable=trainable) if bias else None
    same = dilation * (size - 1) // 2 if padding is None else padding
    return ops.conv2d(x, weight, shift, stride=stride, padding=same, dilation=dilation, groups=groups)


def conv_transpose(
    name: str, x: Value, out: int, *, size: int, stride: int, padding: int = 0, bias: bool = True
) -> Value:
    """A transposed convolution; parameters `name.weight` [in, out, size, size], `name.bias`."""
    with scope(name):
        weight = parameter("weight", x.dim(1), out, size, size, init="kaiming", value=1.0)
        shift = parameter("bias", out, init="constant") if bias else None
    return ops.conv_transpose2d(x, weight, shift, stride=stride, padding=padding)


def batch_norm(name: str, x: Value, norm: Norm = Norm()) -> Value:
    """Batch norm; parameters `weight` and `bias`, buffers `running_mean`, `running_var`, `num_batches_tracked`."""
    channels = x.dim(1)
    with scope(name):
        weight = parameter("weight", channels, init="constant", value=1.0, trainable=norm.trainable)
        bias = parameter("bias", channels, init="constant", trainable=norm.trainable)
        mean = parameter("running_mean", channels, init="constant", buffer=True, trainable=False)
        var = parameter("running_var", channels, init="constant", value=1.0, buffer=True, trainable=False)
        seen = parameter("num_batches_tracked", init="constant", buffer=True, trainable=False, dtype="i64")

    def stored() -> Value:
        return ops.batch_norm(x, weight, bias, mean, var, eps=norm.eps)

    if norm.stored:
        return stored()
    return by_phase(
        train=lambda: ops.batch_norm_train(x, weight, bias, mean, var, seen, eps=norm.eps, momentum=norm.momentum),
        infer=stored,
    )


def group_norm(name: str, x: Value, groups: int = 32, *, trainable: bool = True) -> Value:
    """Group norm; parameters `name.weight`, `name.bias`."""
    with scope(name):
        weight = parameter("weight", x.dim(1), init="constant", value=1.0, trainable=trainable)
        bias = parameter("bias", x.dim(1), init="constant", trainable=trainable)
        return ops.group_norm(x, weight, bias, groups=groups)


def conv_unit(name: str, x: Value, out: int, *, size: int = 1, stride: int = 1) -> Value:
    """A convolution alone; parameters `name.conv`."""
    with scope(name):
        return conv("conv", x, out, size=size, stride=stride)


def batch_unit(
    name: str, x: Value, out: int,
    *, size: int = 1, stride: int = 1, groups: int = 1, norm: Norm = Norm(), gain: float = 1.0,
) -> Value:  # fmt: skip
    """Convolution and batch norm; parameters `name.conv`, `name.bn`."""
    with scope(name):
        mapped = conv("conv", x, out, size=size, stride=stride, groups=groups, bias=False, gain=gain)
        return batch_norm("bn", mapped, norm)


def group_unit(
    name: str, x: Value, out: int,
    *, size: int = 1, stride: int = 1, groups: int = 32, bias: bool = False, deviation: float = 0.0,
) -> Value:  # fmt: skip
    """Convolution and group norm; parameters `name.conv`, `name.gn`."""
    with scope(name):
        mapped = conv("conv", x, out, size=size, stride=stride, bias=bias, deviation=deviation)
        return group_norm("gn", mapped, groups)


def conv_module(
    name: str,
    x: Value,
    out: int,
    *,
    size: int = 3,
    stride: int = 1,
    groups: int = 1,
    norm: Norm = Norm(),
    act: Activation = ops.relu,
    gain: float = 1.0,
) -> Value:
    """Convolution, batch norm, activation; parameters `name.conv`, `name.bn`."""
    return act(batch_unit(name, x, out, size=size, stride=stride, groups=groups, norm=norm, gain=gain))


def group_module(name: str, x: Value, out: int, *, groups: int = 32, bias: bool = False) -> Value:
    """3x3 convolution, group norm, ReLU; parameters `name.conv`, `name.gn`."""
    return ops.relu(group_unit(name, x, out, size=3, groups=groups, bias=bias, deviation=0.01))


YOLO_NORM = Norm(eps=1e-3, momentum=0.03)
YOLO_GAIN = 6**-0.5  # a variance of 1 / (3 fan-in), PyTorch's default, from which the reference trains


def silu_module(name: str, x: Value, out: int, *, size: int = 3, stride: int = 1, groups: int = 1) -> Value:
    """Convolution, batch norm, SiLU, with the batch norm settings of the YOLO family."""
    settings = {"norm": YOLO_NORM, "act": ops.silu, "gain": YOLO_GAIN}
    return conv_module(name, x, out, size=size, stride=stride, groups=groups, **settings)  # type: ignore[arg-type]


def separable(name: str, x: Value, out: int, *, size: int = 3, stride: int = 1) -> Value:
    """Depthwise separable `silu_module` (Howard et al. 2017): a convolution a channel, then a 1x1 convolution."""
    channels = x.dim(1).constant or 1
    with scope(name):
        deep = silu_module("depthwise_conv", x, channels, size=size, stride=stride, groups=channels)
        return silu_module("pointwise_conv", deep, out, size=1)
