"""Features of several depths at one width, and one coarser level (Zhu et al. 2021, arXiv:2010.04159, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from graphdet.blocks.conv import group_unit
from graphdet.ir import Value


def channel_mapper(features: Sequence[Value], width: int = 256) -> list[Value]:
    """1x1 convolutions with group norm, and a strided 3x3 one on the last feature."""
    levels = [group_unit(f"convs.{i}", c, width) for i, c in enumerate(features)]
    return [*levels, group_unit("extra_convs.0", features[-1], width, size=3, stride=2)]
