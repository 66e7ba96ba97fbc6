"""Features of several depths at one width, and one coarser level (Zhu et al. 2021, arXiv:2010.04159, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from graphdet.blocks.conv import conv, group_norm
from graphdet.ir import Value, scope


def channel_mapper(features: Sequence[Value], width: int = 256) -> list[Value]:
    """1x1 convolutions with group norm, and a strided 3x3 one on the last feature."""
    levels = [_level(f"convs.{i}", c, width, size=1) for i, c in enumerate(features)]
    return [*levels, _level("extra_convs.0", features[-1], width, size=3, stride=2)]


def _level(name: str, x: Value, width: int, *, size: int, stride: int = 1) -> Value:
    with scope(name):
        return group_norm("gn", conv("conv", x, width, size=size, stride=stride, bias=False))
