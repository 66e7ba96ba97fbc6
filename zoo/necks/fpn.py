"""Feature pyramid network (Lin et al. 2017, arXiv:1612.03144)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphdet import ops
from graphdet.blocks.conv import Unit, conv_unit
from graphdet.ir import Value, scope


def fpn(features: Sequence[Value], width: int = 256, *, extra: int = 0, unit: Unit = conv_unit) -> list[Value]:
    """Levels of equal width, finest first: lateral 1x1 convolutions, a top-down path, 3x3 convolutions.

    extra: coarser levels by strided 3x3 convolutions, the first of them from the last feature itself (RetinaNet's P6,
    P7) · unit: a convolution of the first ones, with its norm if it has one.
    """
    with scope("lateral_convs"):
        lateral = [unit(str(i), c, width, size=1) for i, c in enumerate(features)]
    for i in reversed(range(len(lateral) - 1)):
        lateral[i] = lateral[i] + ops.upsample(lateral[i + 1], scale=2)
    with scope("fpn_convs"):
        levels = [unit(str(i), p, width, size=3) for i, p in enumerate(lateral)]
        for i in range(extra):
            top = features[-1] if i == 0 else levels[-1]
            levels.append(conv_unit(str(len(levels)), top, width, size=3, stride=2))
    return levels


def fpn_from_top(
    features: Sequence[Value], width: int = 256, *, extra: int = 2, between: Callable[[Value], Value] | None = None
) -> list[Value]:
    """The pyramid with coarser levels by strided 3x3 convolutions of its own last one: P3 .. P7 of FCOS and after.

    between: an activation between two of these convolutions.
    """
    levels = fpn(features, width)
    with scope("fpn_convs"):
        for i in range(extra):
            top = between(levels[-1]) if i and between else levels[-1]
            levels.append(conv_unit(str(len(levels)), top, width, size=3, stride=2))
    return levels


def fpn_pooled(features: Sequence[Value], width: int = 256, unit: Unit = conv_unit) -> list[Value]:
    """The pyramid with one coarser level, every second cell of the last (Lin et al. 2017, footnote 2): P2 .. P6."""
    levels = fpn(features, width, unit=unit)
    return [*levels, ops.max_pool(levels[-1], size=1, stride=2)]
