"""Deformable convolutions that predict their own offsets."""

from __future__ import annotations

from graphdet import ops
from graphdet.errors import BadAttribute
from graphdet.ir.graph import Value
from graphdet.ir.source import here, render
from graphdet.ir.trace import parameter, scope


def deform_conv(
    name: str,
    x: Value,
    out: int,
    *,
    size: int = 3,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    offset_groups: int = 1,
    modulated: bool = True,
    bias: bool = True,
) -> Value:
    """A deformable convolution with "same" padding; parameters `name.weight`, `name.bias`, `name.conv_offset.*`.

    A convolution of the same kernel predicts the offsets and, where it is `modulated` (Zhu et al. 2019), the logits of
    the mask behind them: channels (dy, dx of each point and offset group, then logits). It begins at zero. Raises
    BadAttribute if x's channels are not a number.
    """
    channels = x.dim(1).constant
    if channels is None or channels % groups:
        raise BadAttribute(
            f"deform_conv {name!r}: {x.dim(1)} channels do not split into {groups} groups", where=render(here())
        )
    moved, padding = offset_groups * size * size, dilation * (size - 1) // 2
    predicted = moved * (3 if modulated else 2)
    with scope(name):
        weight = parameter("weight", out, channels // groups, size, size, init="kaiming")
        shift = parameter("bias", out, init="constant") if bias else None
        with scope("conv_offset"):
            zero = parameter("weight", predicted, channels, size, size, init="constant")
            offsets = ops.conv2d(
                x, zero, parameter("bias", predicted, init="constant"), stride=stride, padding=padding,
                dilation=dilation,
            )  # fmt: skip
    mask = ops.sigmoid(offsets[:, 2 * moved :]) if modulated else None
    return ops.deform_conv2d(
        x, weight, offsets[:, : 2 * moved] if modulated else offsets, mask, shift,
        stride=stride, padding=padding, dilation=dilation, groups=groups, offset_groups=offset_groups,
    )  # fmt: skip
