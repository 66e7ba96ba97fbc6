"""Changes that join several images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.data.transforms.base import Draw, Rng
from graphdet.data.transforms.move import (
    bitmap,
    box_of,
    clipped,
    interpolation_of,
    joined,
    kept,
    move,
    scaling,
    translation,
    visible,
    warp,
)
from graphdet.records import Array, Truth


@dataclass(frozen=True)
class Mosaic:
    """Four images around a random centre of a canvas twice as high and wide as `size` (YOLOv4, arXiv:2004.10934).

    Each is scaled to fit `size` (height, width) and cut off where its quadrant ends. The centre lies between `centre`
    times the size. Objects that are not seen are left out, others clipped.
    """

    size: tuple[int, int] = (640, 640)
    centre: tuple[float, float] = (0.5, 1.5)
    fill: int = 114
    chance: float = 1.0

    def mix(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """The mosaic of the sample and three others, at most."""
        if rng.random() >= self.chance:
            return sample
        height, width = self.size
        x, y = (int(v * s) for v, s in zip(rng.uniform(*self.centre, 2), (width, height), strict=True))
        canvas = np.full((2 * height, 2 * width, 3), self.fill, np.uint8)
        parts = []
        for i, part in enumerate([sample, draw(), draw(), draw()]):
            scale = min(height / part.size[0], width / part.size[1])
            high, wide = max(1, int(part.size[0] * scale)), max(1, int(part.size[1] * scale))
            left, top = x - wide * (i % 2 == 0), y - high * (i < 2)
            fit = scaling(wide / part.size[1], high / part.size[0])
            small = warp(part.pixels(), fit, (high, wide), self.fill, interpolation_of("bilinear"))
            x1, y1, x2, y2 = max(0, left), max(0, top), min(2 * width, left + wide), min(2 * height, top + high)
            canvas[y1:y2, x1:x2] = small[y1 - top : y2 - top, x1 - left : x2 - left]
            parts.append(_placed(part, joined(translation(left, top), fit), (2 * height, 2 * width)))
        truth = together([part.truth for part in parts])
        whole = Sample(canvas, sample.id, (2 * height, 2 * width), truth, proposals=_pooled(parts))
        return clipped(kept(whole, visible(whole)))


@dataclass(frozen=True)
class MixUp:
    """Blend half and half with another image, scaled, perhaps mirrored and cropped at random (YOLOX, sec. 2.1).

    size: (height, width) that the other image is fitted in · ratio: by what it is then scaled · tries: draws of an
    image with objects. The objects of both are kept.
    """

    size: tuple[int, int] = (640, 640)
    ratio: tuple[float, float] = (0.5, 1.5)
    flip: float = 0.5
    fill: int = 114
    tries: int = 15

    def mix(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """The blend; its size is the sample's."""
        for _ in range(self.tries):
            other = draw()
            if len(other.truth):
                break
        height, width = sample.size
        jitter, fit = rng.uniform(*self.ratio), min(s / o for s, o in zip(self.size, other.size, strict=True))
        scale = fit * jitter
        size = max(1, int(self.size[0] * jitter)), max(1, int(self.size[1] * jitter))
        changes = [scaling(scale, scale)]
        if rng.random() < self.flip:
            changes.insert(0, np.array([[-1.0, 0.0, size[1]], [0.0, 1.0, 0.0]]))
        placed = move(other, joined(*changes), size, fill=self.fill)  # fitted into the scaled size, at its corner
        left = int(rng.integers(max(0, size[1] - width) + 1))
        top = int(rng.integers(max(0, size[0] - height) + 1))
        seen = clipped(move(clipped(placed), translation(-left, -top), sample.size, fill=0))
        blend = np.rint(sample.pixels() * np.float32(0.5) + seen.pixels() * np.float32(0.5)).astype(np.uint8)
        truth = together([sample.truth, seen.truth])
        both = replace(sample, image=blend, truth=truth, proposals=_pooled([sample, seen]))
        return kept(both, visible(both))


@dataclass(frozen=True)
class CopyPaste:
    """Paste a random part of another image's objects (Ghiasi et al. 2021, arXiv:2012.07177); needs masks.

    most: objects at most · all: paste all of them · box, mask: an object of the sample is left out when its box changes
    by more than `box` pixels on a side and at most `mask` pixels of it remain. The other image is scaled to the
    sample's size.
    """

    most: int = 100
    all: bool = False
    box: float = 10.0
    mask: int = 300

    def mix(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """The sample with the pasted objects last."""
        other = draw()
        if sample.truth.masks is None or not other.truth.masks:
            return sample
        scale = [a / b for a, b in zip(sample.size, other.size, strict=True)]
        other = move(other, scaling(scale[1], scale[0]), sample.size)
        count = len(other.truth) if self.all else int(rng.integers(min(len(other.truth), self.most) + 1))
        other = kept(other, np.isin(np.arange(len(other.truth)), rng.permutation(len(other.truth))[:count]))
        pasted = [bitmap(m, sample.size) for m in other.truth.masks or ()]
        cover = np.any(pasted, axis=0) if pasted else np.zeros(sample.size, bool)
        left = [bitmap(m, sample.size) * ~cover for m in sample.truth.masks]
        boxes = np.array([box_of(m) for m in left], np.float32).reshape(-1, 4)
        near = (np.abs(boxes - sample.truth.boxes) <= self.box).all(1)
        large = np.array([int(m.sum()) > self.mask for m in left], bool)
        mine = replace(sample.truth, boxes=boxes, masks=tuple(left)).take(near | large)
        theirs = replace(other.truth, masks=tuple(pasted))
        image = np.where(cover[..., None], other.pixels(), sample.pixels())
        return replace(sample, image=image, truth=together([mine, theirs]), proposals=_pooled([sample, other]))


def together(truths: Sequence[Truth]) -> Truth:
    """The objects of all; with masks where all have them."""
    boxes, labels, crowd = (np.concatenate([getattr(t, name) for t in truths]) for name in ("boxes", "labels", "crowd"))
    masks = None if any(t.masks is None for t in truths) else tuple(m for t in truths for m in t.masks or ())
    return Truth(boxes, labels, crowd, masks)


def _pooled(samples: Sequence[Sample]) -> Array | None:
    """The proposals of all, the best of each first; None where no sample carries any."""
    found = [s.proposals for s in samples if s.proposals is not None]
    ranks = [np.arange(len(boxes)) for boxes in found]
    return np.concatenate(found)[np.argsort(np.concatenate(ranks), kind="stable")] if found else None


def _placed(sample: Sample, matrix: Array, size: tuple[int, int]) -> Sample:
    """The boxes, moved, without the image: the pixels are pasted by the caller."""
    return move(replace(sample, image=np.zeros((1, 1, 3), np.uint8), semantic=None), matrix, size)
