"""The cells of a feature pyramid as rows, and where each lies in its own image, whatever the padding around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphdet import ops
from graphdet.blocks.transformer import sine_places, to_rows
from graphdet.ir import Value


@dataclass(frozen=True)
class Cells:
    """The S cells of all E levels.

    levels: the maps · rows: f[N S C] · inside: b[N S], not padding · places: encodings f[N S C] of where each lies in
    its image and on which level · centres: f[N S 2] (x, y) in parts of the image · filled: f[N E 2] (x, y), the part of
    each map that an image fills.
    """

    levels: Sequence[Value]
    rows: Value
    inside: Value
    places: Value
    centres: Value
    filled: Value

    @property
    def own(self) -> Value:
        """Each cell's centre in parts of every map, f[N S E 2]: where it looks first."""
        (n, s, _), e = self.centres.shape, self.filled.dim(1)
        return ops.reshape(self.centres, shape=(n, s, 1, 2)) * ops.reshape(self.filled, shape=(n, 1, e, 2))


def cells(levels: Sequence[Value], size: Value, names: Value, *, offset: float = 0.0) -> Cells:
    """All cells of images of a size (height, width) f[N 2]; `names`: learned encodings [E C] of the levels."""
    inside = [ops.cells_inside(p, size, stride=p.stride) for p in levels]
    places, centres, filled = [], [], []
    for i, (level, real) in enumerate(zip(levels, inside, strict=True)):
        n, _, h, w = level.shape
        places.append(sine_places(level, real, offset=offset) + names[i])
        real = ops.reshape(ops.cast(real, to="f32"), shape=(n, h, w))
        columns, lines = ops.total(real[:, :1], axes=(1, 2)), ops.total(real[:, :, :1], axes=(1, 2))
        extent = ops.concat(*(ops.reshape(x, shape=(n, 1, 1)) for x in (columns, lines)), axis=2)
        centres.append(ops.point_grid(level, stride=1, offset=0.5)[:, :2] / extent)
        filled.append(extent / ops.map_size(level))
    rows = ops.concat(*map(to_rows, levels), axis=1)
    return Cells(levels, rows, *(ops.concat(*parts, axis=1) for parts in (inside, places, centres, filled)))
