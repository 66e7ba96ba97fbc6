"""Changes of place and size. Boxes, outlines, bitmaps and semantic maps move with the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.data.transforms.base import Rng
from graphdet.data.transforms.move import (
    VOID,
    Fill,
    Size,
    clipped,
    extents,
    joined,
    kept,
    move,
    scaling,
    translation,
    visible,
)
from graphdet.errors import BadRecipe
from graphdet.records import Array

Axis = Literal["horizontal", "vertical"]


@dataclass(frozen=True)
class Resize:
    """Scale to one of `sizes`, limits (long, short) of the sides whatever the orientation, or exact (height, width).

    choose: `value` picks one of the sizes, `range` draws the long and the short limit each between those of two sizes.
    ratio: the one size is multiplied by a number drawn from this range. keep_ratio: fit within, without distortion.
    """

    sizes: tuple[tuple[int, int], ...]
    choose: Literal["value", "range"] = "value"
    ratio: tuple[float, float] = (1.0, 1.0)
    keep_ratio: bool = True
    interpolation: str = "bilinear"

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, scaled."""
        target = self._target(rng)
        height, width = sample.size
        if self.keep_ratio:
            scale = min(max(target) / max(height, width), min(target) / min(height, width))
            target = int(height * scale + 0.5), int(width * scale + 0.5)
        size = max(1, target[0]), max(1, target[1])
        return move(sample, scaling(size[1] / width, size[0] / height), size, interpolation=self.interpolation)

    def _target(self, rng: Rng) -> Size:
        if self.choose == "range" and len(self.sizes) == 2:
            longs, shorts = sorted(max(s) for s in self.sizes), sorted(min(s) for s in self.sizes)
            return int(rng.integers(longs[0], longs[1] + 1)), int(rng.integers(shorts[0], shorts[1] + 1))
        first, second = self.sizes[int(rng.integers(len(self.sizes)))]
        if self.ratio == (1.0, 1.0):
            return first, second
        factor = rng.uniform(*self.ratio)
        return int(first * factor), int(second * factor)


@dataclass(frozen=True)
class Flip:
    """Mirror left-right, top-bottom, or both at once; at most one of the three, each with its own chance."""

    horizontal: float = 0.5
    vertical: float = 0.0
    diagonal: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.horizontal + self.vertical + self.diagonal <= 1:
            raise BadRecipe("the chances of Flip are at least 0, and at most 1 together")

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps mirrored."""
        across, down, both = np.cumsum([self.horizontal, self.vertical, self.diagonal])
        drawn = rng.random()
        if drawn >= both:
            return sample
        x, y = (-1, 1) if drawn < across else (1, -1) if drawn < down else (-1, -1)
        height, width = sample.size
        matrix = np.array([[x, 0.0, width if x < 0 else 0.0], [0.0, y, height if y < 0 else 0.0]])
        return move(sample, matrix, sample.size)


@dataclass(frozen=True)
class Pad:
    """Add pixels at the right and the bottom: up to `size` (height, width), to a multiple of `divisor`, to a square.

    What is added has the colour `fill` in the image, `masks` in bitmaps and the class `semantic` in a semantic map;
    outlines stay as they are.
    """

    size: tuple[int, int] | None = None
    divisor: int = 1
    square: bool = False
    fill: Fill = 114
    masks: int = 0
    semantic: int = VOID

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, padded."""
        height, width = (max(a, b) for a, b in zip(sample.size, self.size or (0, 0), strict=True))
        if self.square:
            height = width = max(height, width)
        size = -(-height // self.divisor) * self.divisor, -(-width // self.divisor) * self.divisor
        return move(sample, translation(0, 0), size, fill=self.fill, masks=self.masks, semantic=self.semantic)


@dataclass(frozen=True)
class Crop:
    """Cut out a random window.

    size: (height, width) in pixels for `absolute`, shares of the image for `relative`; `relative_range` draws each
    share between this and 1, `absolute_range` draws both sides between the two numbers (at most the image). An image
    smaller than the window keeps that side. Boxes are clipped (if `clip`) and left out when nothing remains; a window
    without objects is refused where there were some, unless `allow_empty`: the sample stays as it is.
    """

    size: tuple[float, float]
    unit: Literal["absolute", "relative", "absolute_range", "relative_range"] = "absolute"
    allow_empty: bool = False
    clip: bool = True

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The window, or the sample itself."""
        height, width = self._window(sample.size, rng)
        top = int(rng.integers(sample.size[0] - height + 1))
        left = int(rng.integers(sample.size[1] - width + 1))
        cut = window(sample, left, top, (height, width), clip=self.clip)
        return cut if self.allow_empty or len(cut.truth) or not len(sample.truth) else sample

    def _window(self, size: Size, rng: Rng) -> Size:
        first, second = self.size
        if self.unit == "absolute_range":
            low, high = int(min(self.size)), int(max(self.size))
            height, width = (int(rng.integers(min(low, s), min(high, s) + 1)) for s in size)
            return height, width
        if self.unit == "relative_range":
            first, second = first + rng.random() * (1 - first), second + rng.random() * (1 - second)
        if self.unit != "absolute":
            return max(1, int(size[0] * first + 0.5)), max(1, int(size[1] * second + 0.5))
        return min(int(first), size[0]), min(int(second), size[1])


@dataclass(frozen=True)
class MinIoUCrop:
    """SSD's crop (Liu et al. 2016, arXiv:1512.02325, sec. 2.2).

    Draws one of: the whole image, any window, or a window whose IoU with every object it takes part in is at least one
    of `overlaps`; sides from `smallest` of the image on, aspect 1/2 to 2, up to 50 tries before another draw. Objects
    stay when their centre lies inside.
    """

    overlaps: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    smallest: float = 0.3

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The window, or the sample itself."""
        while True:
            drawn = int(rng.integers(len(self.overlaps) + 2))
            if drawn == 0:
                return sample
            least = 0.0 if drawn == 1 else self.overlaps[drawn - 2]
            for _ in range(50):
                found = self._try(sample, rng, least)
                if found is not None:
                    return found

    def _try(self, sample: Sample, rng: Rng, least: float) -> Sample | None:
        height, width = (int(rng.uniform(self.smallest * s, s)) for s in sample.size)
        if not (height and width and 0.5 <= height / width <= 2):
            return None
        top = int(rng.uniform(0, sample.size[0] - height))
        left = int(rng.uniform(0, sample.size[1] - width))
        boxes = sample.truth.boxes
        area = np.array([left, top, left + width, top + height], np.float32)
        if len(boxes) and _ious(area, boxes).min() < least:
            return None
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((centres > area[:2]) & (centres < area[2:])).all(1)
        if len(boxes) and not inside.any():
            return None
        return window(kept(sample, inside), left, top, (height, width))


@dataclass(frozen=True)
class CentreCrop:
    """CornerNet's crop and pad: a window of `size` times one of `ratios` around a random centre (code of the paper).

    The centre keeps `border` pixels from the image's edges, less where it is small; what lies beyond the image is
    `fill`. Objects stay when their centre lies inside the part of the window that the image covers.
    """

    size: tuple[int, int]
    ratios: tuple[float, ...] = (0.9, 1.0, 1.1)
    border: int = 128
    fill: tuple[int, int, int] = (104, 117, 124)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The window; after 50 windows without an object, the sample itself."""
        for _ in range(50):
            ratio = self.ratios[int(rng.integers(len(self.ratios)))]
            height, width = int(self.size[0] * ratio), int(self.size[1] * ratio)
            y, x = (int(rng.integers(b, s - b + 1)) for s, b in ((s, _border(self.border, s)) for s in sample.size))
            left, top = x - width // 2, y - height // 2
            centres = (sample.truth.boxes[:, :2] + sample.truth.boxes[:, 2:]) / 2
            inside = ((centres > (left, top)) & (centres < (left + width, top + height))).all(1)
            if inside.any() or not len(sample.truth):
                return window(kept(sample, inside), left, top, (height, width), fill=self.fill)
        return sample


@dataclass(frozen=True)
class Expand:
    """Put the image at a random place of a canvas `ratio` times as large on each side (SSD's zoom out)."""

    ratio: tuple[float, float] = (1.0, 4.0)
    fill: tuple[int, int, int] = (104, 117, 124)
    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps on a canvas."""
        if rng.random() >= self.chance:
            return sample
        ratio, (height, width) = rng.uniform(*self.ratio), sample.size
        size = int(height * ratio), int(width * ratio)
        left, top = int(rng.uniform(0, size[1] - width)), int(rng.uniform(0, size[0] - height))
        return move(sample, translation(left, top), size, fill=self.fill)


@dataclass(frozen=True)
class Shift:
    """Move by up to `most` pixels each way; boxes of which less than `smallest` pixels a side remain are left out."""

    most: int = 32
    smallest: int = 1
    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps shifted; as it was where no object would remain."""
        if rng.random() >= self.chance:
            return sample
        x, y = (int(v) for v in rng.integers(-self.most, self.most + 1, 2))
        moved = clipped(move(sample, translation(x, y), sample.size, fill=0))
        found = kept(moved, (extents(moved.truth.boxes) > self.smallest).all(1))
        return found if len(found.truth) or not len(sample.truth) else sample


@dataclass(frozen=True)
class Rescale:
    """Scale the image and show a window of its old size: a crop when larger, on a `fill` canvas when smaller.

    Boxes are clipped to the window. Objects of which less than `visible` of the box remains are no longer annotated.
    """

    chance: float = 0.5
    smallest: float = 0.7
    largest: float = 1.4
    visible: float = 0.4
    fill: int = 114

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps scaled and shifted."""
        if rng.random() >= self.chance:
            return sample
        (height, width), scale = sample.size, float(np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest))))
        # The window lies inside a larger image, and around a smaller one.
        left, top = (float(v) for v in rng.random(2) * (width, height) * (1 - scale))
        moved = move(sample, joined(translation(left, top), scaling(scale, scale)), sample.size, fill=self.fill)
        found = clipped(moved)
        areas = extents(moved.truth.boxes).prod(1), extents(found.truth.boxes).prod(1)
        return kept(found, (areas[1] > 0) & (areas[1] >= self.visible * areas[0]))


@dataclass(frozen=True)
class LargeScaleJitter:
    """Scale to `size` times a factor of `ratio`, then crop or pad to `size` (Ghiasi et al. 2021, arXiv:2012.07177)."""

    size: tuple[int, int] = (1024, 1024)
    ratio: tuple[float, float] = (0.1, 2.0)
    fill: int = 114

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample at its new size."""
        scale = rng.uniform(*self.ratio) * min(a / b for a, b in zip(self.size, sample.size, strict=True))
        size = max(1, round(sample.size[0] * scale)), max(1, round(sample.size[1] * scale))
        scaled = move(sample, scaling(size[1] / sample.size[1], size[0] / sample.size[0]), size)
        top, left = (int(rng.integers(max(0, s - limit) + 1)) for s, limit in zip(size, self.size, strict=True))
        return window(scaled, left, top, self.size, fill=self.fill)


@dataclass(frozen=True)
class FilterObjects:
    """Leave out objects whose box is narrower or lower than `smallest` pixels."""

    smallest: tuple[float, float] = (1.0, 1.0)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample with the other objects."""
        return kept(sample, (extents(sample.truth.boxes) >= self.smallest).all(1))


def window(sample: Sample, left: int, top: int, size: Size, *, fill: Fill = 0, clip: bool = True) -> Sample:
    """The part of a sample seen through a window; objects that it does not show are left out."""
    cut = move(sample, translation(-left, -top), size, fill=fill)
    cut = kept(cut, visible(cut))
    return clipped(cut) if clip else cut


def _border(border: int, size: int) -> int:
    """CornerNet's margin: halved until the image leaves room for a centre."""
    i = 1
    while size - border // i <= border // i:
        i *= 2
    return border // i


def _ious(box: Array, boxes: Array) -> Array:
    extent = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(1)
    union = (box[2:] - box[:2]).prod() + extents(boxes).prod(1) - extent
    return np.asarray(extent / np.maximum(union, 1e-6))
