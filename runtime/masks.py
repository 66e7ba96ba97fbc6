"""Predicted masks of detections, pasted when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphdet.records import Array
from graphdet.runtime.kernels import kernels


@dataclass(frozen=True)
class GridMasks:
    """Predicted masks: grids f32[K P Q] of probabilities, each spanning one of `spans` f32[K 4] (xyxy, image pixels).

    A pixel belongs to the mask where its grid, interpolated once, reaches one half; see `paste_masks`.
    """

    grids: Array
    spans: Array
    size: tuple[int, int]

    def __getitem__(self, rows: Array) -> GridMasks:
        return GridMasks(self.grids[rows], self.spans[rows], self.size)

    def bitmaps(self) -> Array:
        """u8[K height width] of 0 and 1."""
        return np.asarray(kernels().paste_masks(*self._batch(), height=self.size[0], width=self.size[1])[0])

    def runs(self) -> list[bytes]:
        """Run-length counts; no full bitmap is made."""
        found: list[bytes] = kernels().paste_runs(*self._batch(), height=self.size[0], width=self.size[1])[0]
        return found

    def _batch(self) -> tuple[Array, Array, Array]:
        return self.grids[None], self.spans[None], np.asarray([len(self.grids)], np.int64)


def whole_canvas(geometry: Array, size: Sequence[int], count: int) -> Array:
    """Spans f32[count 4] of grids over the whole padded network input.

    geometry: f32[4] (scale_x, scale_y, offset_x, offset_y) of the image · size: (height, width) of the input.
    """
    corners = np.asarray([0, 0, size[1], size[0]], np.float32)
    span = (corners - np.tile(geometry[2:], 2)) / np.tile(geometry[:2], 2)
    return np.repeat(span[None].astype(np.float32), count, 0)
