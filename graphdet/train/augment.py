"""Changes of training samples: pure functions `(sample, rng) -> sample` that move boxes with the pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.records import Array, Truth

Rng = np.random.Generator
Transform = Callable[[Sample, Rng], Sample]
_MIRROR_X = np.array([-1, 1, -1, 1], np.float32)
_MIRROR_Y = np.array([1, -1, 1, -1], np.float32)


@dataclass(frozen=True)
class Flip:
    """Mirror left-right, and top-bottom, each with its own chance."""

    horizontal: float = 0.5
    vertical: float = 0.0

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps mirrored."""
        across, down = rng.random(2) < (self.horizontal, self.vertical)
        pixels, boxes = sample.pixels(), sample.truth.boxes
        (height, width) = sample.size
        if across:
            pixels, boxes = pixels[:, ::-1], (width, 0, width, 0) + boxes[:, (2, 1, 0, 3)] * _MIRROR_X
        if down:
            pixels, boxes = pixels[::-1], (0, height, 0, height) + boxes[:, (0, 3, 2, 1)] * _MIRROR_Y
        truth = replace(sample.truth, boxes=boxes.astype(np.float32))
        return replace(sample, image=np.ascontiguousarray(pixels), truth=truth)


@dataclass(frozen=True)
class Jitter:
    """Change hue, saturation and brightness, by up to these amounts (degrees; shares). Boxes stay."""

    chance: float = 0.5
    hue: float = 8.0
    saturation: float = 0.3
    brightness: float = 0.2

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps recoloured."""
        import cv2

        if rng.random() >= self.chance:
            return sample
        hue, saturation, brightness = rng.uniform(-1, 1, 3) * (self.hue, self.saturation, self.brightness)
        table = np.arange(256)
        tables = (  # OpenCV's 8-bit hue counts in steps of two degrees
            (table + round(hue / 2)) % 180,
            np.clip(table * (1 + saturation), 0, 255),
            np.clip(table * (1 + brightness), 0, 255),
        )
        planes = cv2.split(cv2.cvtColor(sample.pixels(), cv2.COLOR_BGR2HSV))
        changed = [cv2.LUT(p, t.astype(np.uint8)) for p, t in zip(planes, tables, strict=True)]
        return replace(sample, image=np.asarray(cv2.cvtColor(cv2.merge(changed), cv2.COLOR_HSV2BGR)))


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
        import cv2

        if rng.random() >= self.chance:
            return sample
        (height, width), scale = sample.size, float(np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest))))
        # The window lies inside a larger image, and around a smaller one.
        left, top = (float(v) for v in rng.random(2) * (width, height) * (1 - scale))
        # warpAffine counts from pixel centres, boxes from pixel corners: hence the half pixels.
        matrix = np.array([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2]])
        image = cv2.warpAffine(sample.pixels(), matrix, (width, height), borderValue=(self.fill,) * 3)
        moved = sample.truth.boxes * np.float32(scale) + np.array([left, top, left, top], np.float32)
        truth = _inside(replace(sample.truth, boxes=moved), sample.size, self.visible)
        return replace(sample, image=np.asarray(image), truth=truth)


def _inside(truth: Truth, size: tuple[int, int], visible: float) -> Truth:
    """Boxes clipped to an image of (height, width); those that lose too much of their area are left out."""
    height, width = size
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.clip(truth.boxes, 0, limits).astype(np.float32)
    keep = (_areas(boxes) > 0) & (_areas(boxes) >= visible * _areas(truth.boxes))
    return Truth(boxes[keep], truth.labels[keep], truth.crowd[keep])


def _areas(boxes: Array) -> Array:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
