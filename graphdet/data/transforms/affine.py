"""Rotation, shear and shift: alone, as AutoAugment's policies use them, and together, as YOLOs do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.data.transforms.base import Rng
from graphdet.data.transforms.move import clipped, extents, joined, kept, move, scaling, translation, visible
from graphdet.records import Array

Axis = Literal["horizontal", "vertical"]


@dataclass(frozen=True)
class Rotate:
    """Turn by `degrees` clockwise, or with chance `reverse` the other way, about `centre` (x, y) or the middle."""

    degrees: float
    scale: float = 1.0
    centre: tuple[float, float] | None = None
    chance: float = 0.5
    reverse: float = 0.5
    fill: int = 128

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps turned."""
        degrees = _signed(self.degrees, self.chance, self.reverse, rng)
        if degrees is None:
            return sample
        x, y = self.centre or (sample.size[1] / 2, sample.size[0] / 2)
        turn = joined(translation(x, y), rotation(degrees), scaling(self.scale, self.scale), translation(-x, -y))
        return _shown(move(sample, turn, sample.size, fill=self.fill))


@dataclass(frozen=True)
class Shear:
    """Shear along an axis by `amount`, or with chance `reverse` by its negative."""

    amount: float
    axis: Axis = "horizontal"
    chance: float = 0.5
    reverse: float = 0.5
    fill: int = 128
    interpolation: str = "bilinear"

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps sheared."""
        amount = _signed(self.amount, self.chance, self.reverse, rng)
        if amount is None:
            return sample
        x, y = (amount, 0.0) if self.axis == "horizontal" else (0.0, amount)
        matrix = np.array([[1.0, x, 0.0], [y, 1.0, 0.0]])
        return _shown(move(sample, matrix, sample.size, fill=self.fill, interpolation=self.interpolation))


@dataclass(frozen=True)
class Translate:
    """Shift along an axis by `pixels`, or with chance `reverse` back; drop boxes left narrower than `smallest`."""

    pixels: float
    axis: Axis = "horizontal"
    chance: float = 0.5
    reverse: float = 0.5
    fill: int = 128
    smallest: float = 0.0

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps shifted."""
        pixels = _signed(self.pixels, self.chance, self.reverse, rng)
        if pixels is None:
            return sample
        x, y = (int(pixels), 0) if self.axis == "horizontal" else (0, int(pixels))
        moved = _shown(move(sample, translation(x, y), sample.size, fill=self.fill))
        return kept(moved, (extents(moved.truth.boxes) > self.smallest).all(1))


@dataclass(frozen=True)
class RandomAffine:
    """Scale, turn, shear and shift about the top left corner, each by a random amount (YOLOX).

    degrees, shear: at most, in degrees · shift: at most, a share of the result's size · scale: range · border: what is
    added to height and width on each of both sides: minus half its size undoes the doubling of a mosaic. Objects that
    the result does not show are left out and others clipped; with `strict` also those that end narrower or lower than
    `smallest`, with less than `area` of their scaled area, or longer than `aspect` times their width.
    """

    degrees: float = 10.0
    shift: float = 0.1
    scale: tuple[float, float] = (0.5, 1.5)
    shear: float = 2.0
    border: tuple[int, int] = (0, 0)
    fill: int = 114
    strict: bool = False
    smallest: float = 2.0
    area: float = 0.2
    aspect: float = 20.0

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, changed."""
        size = sample.size[0] + 2 * self.border[0], sample.size[1] + 2 * self.border[1]
        degrees, scale = rng.uniform(-self.degrees, self.degrees), rng.uniform(*self.scale)
        x, y = (math.tan(math.radians(v)) for v in rng.uniform(-self.shear, self.shear, 2))
        left, top = rng.uniform(-self.shift, self.shift, 2) * (size[1], size[0])
        matrix = joined(
            translation(left, top), np.array([[1, x, 0], [y, 1, 0]]), rotation(degrees), scaling(scale, scale)
        )
        moved = move(sample, matrix, size, fill=self.fill)
        moved = kept(moved, visible(moved))
        whole = extents(moved.truth.boxes)
        moved = clipped(moved)
        if not self.strict:
            return moved
        sides = extents(moved.truth.boxes)
        share = sides.prod(1) / np.maximum(whole.prod(1), 1e-16)
        longest = (sides / np.maximum(sides[:, ::-1], 1e-16)).max(1, initial=0)
        return kept(moved, (sides > self.smallest).all(1) & (share > self.area) & (longest < self.aspect))


def rotation(degrees: float) -> Array:
    """f64[2 3]: clockwise as seen, about the top left corner."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])


def _signed(amount: float, chance: float, reverse: float, rng: Rng) -> float | None:
    """The amount with its random sign; None where nothing is to be done."""
    happens, back = rng.random(2)
    return None if happens >= chance else -amount if back < reverse else amount


def _shown(moved: Sample) -> Sample:
    """Objects that the image shows, clipped to it."""
    return clipped(kept(moved, visible(moved)))
