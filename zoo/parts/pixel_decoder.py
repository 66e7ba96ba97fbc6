"""The pixel decoder of Mask2Former (Cheng et al. 2022, arXiv:2112.01527, sec. 3.2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from graphdet import ops
from graphdet.blocks.conv import conv, group_unit
from graphdet.blocks.deform_attention import encode_points
from graphdet.blocks.transformer import embedding
from graphdet.ir import Value
from graphdet.zoo.parts.cells import cells


def pixel_decoder(features: Sequence[Value], width: int) -> tuple[Value, list[Value]]:
    """Features of queries' masks at stride 4, and C5, C4, C3 after six layers of deformable attention."""
    levels = [group_unit(f"input_convs.{i}", c, width, bias=True) for i, c in enumerate(features[:0:-1])]
    size = ops.map_size(features[0]) * float(features[0].stride)
    size = ops.expand(ops.concat(size[1:], size[:1], axis=0), shape=(features[0].dim(0), 2))  # padding counts as image
    grid = cells(levels, size, embedding("level_encoding", 3, width))
    memory = encode_points(grid.rows, grid.places, grid.own, grid.inside, levels)
    out, start = [], memory.dim(1) * 0
    for level in levels:
        cut = memory[:, start : start + level.dim(2) * level.dim(3)]
        out.append(ops.reshape(ops.transpose(cut, order=(0, 2, 1)), shape=level.shape))
        start = start + level.dim(2) * level.dim(3)
    fine = group_unit("lateral_convs.0", features[0], width)
    fine = fine + ops.resize(out[-1], height=fine.dim(2), width=fine.dim(3))
    fine = ops.relu(group_unit("output_convs.0", fine, width, size=3))
    return conv("mask_feature", fine, width, size=1), out
