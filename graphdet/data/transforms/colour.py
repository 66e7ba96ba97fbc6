"""Changes of colour, and erased regions; objects stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.data.transforms.base import Rng
from graphdet.errors import BadRecipe
from graphdet.records import Array


@dataclass(frozen=True)
class Jitter:
    """Change hue, saturation and brightness, by up to these amounts (degrees; shares)."""

    chance: float = 0.5
    hue: float = 8.0
    saturation: float = 0.3
    brightness: float = 0.2

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps recoloured."""
        if rng.random() >= self.chance:
            return sample
        hue, saturation, brightness = rng.uniform(-1, 1, 3) * (self.hue, self.saturation, self.brightness)
        # OpenCV's 8-bit hue counts in steps of two degrees
        return _hsv(sample, lambda h: (h + round(hue / 2)) % 180, _times(1 + saturation), _times(1 + brightness))


@dataclass(frozen=True)
class YoloxColour:
    """Add up to these amounts to hue (in OpenCV's half degrees), saturation and value, each with chance 1/2 (YOLOX)."""

    hue: int = 5
    saturation: int = 30
    value: int = 30

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, recoloured."""
        amounts = rng.uniform(-1, 1, 3) * (self.hue, self.saturation, self.value)
        h, s, v = (int(a) for a in amounts * rng.integers(0, 2, 3))
        return _hsv(sample, lambda t: (t + h) % 180, lambda t: np.clip(t + s, 0, 255), lambda t: np.clip(t + v, 0, 255))


@dataclass(frozen=True)
class Photometric:
    """SSD's colour distortion (Liu et al. 2016): each step with chance 1/2.

    Add to all channels; multiply; multiply the saturation; turn the hue (degrees); multiply, if not before; permute the
    channels. Values leave 0..255 on the way and are clipped at the end alone.
    """

    brightness: float = 32.0
    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 18.0

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, recoloured."""
        import cv2

        bright, early, contrast, saturate, turn, swap = rng.random(6) < 0.5
        image: Array = sample.pixels().astype(np.float32)
        if bright:
            image = image + np.float32(rng.uniform(-self.brightness, self.brightness))
        gain = np.float32(rng.uniform(*self.contrast)) if contrast else None
        if gain is not None and early:
            image = image * gain
        if saturate or turn:
            hsv: Array = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
            if saturate:
                hsv[..., 1] *= np.float32(rng.uniform(*self.saturation))
            if turn:
                hsv[..., 0] = (hsv[..., 0] + np.float32(rng.uniform(-self.hue, self.hue))) % 360
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        if gain is not None and not early:
            image = image * gain
        if swap:
            image = image[..., rng.permutation(3)]
        return _with(sample, image)


@dataclass(frozen=True)
class Brightness:
    """Blend with black: `factor` 0 is black, 1 the image, above it brighter."""

    factor: float
    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps changed."""
        return _blended(sample, rng, self.chance, self.factor, lambda image: np.zeros_like(image))


@dataclass(frozen=True)
class Contrast:
    """Blend with the mean grey of the image: `factor` 0 is grey, 1 the image, above it more contrast."""

    factor: float
    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps changed."""
        return _blended(
            sample, rng, self.chance, self.factor, lambda image: np.full_like(image, round(_grey(image).mean()))
        )


@dataclass(frozen=True)
class Colour:
    """Blend with the grey image: `factor` 0 is grey, 1 the image, above it more colourful."""

    factor: float
    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps changed."""
        return _blended(sample, rng, self.chance, self.factor, lambda image: np.repeat(_grey(image)[..., None], 3, 2))


@dataclass(frozen=True)
class Equalize:
    """Make the histogram of every channel flat."""

    chance: float = 0.5

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, perhaps changed."""
        import cv2

        if rng.random() >= self.chance:
            return sample
        planes = [cv2.equalizeHist(np.ascontiguousarray(p)) for p in np.moveaxis(sample.pixels(), 2, 0)]
        return replace(sample, image=np.stack(planes, axis=2))


@dataclass(frozen=True)
class CutOut:
    """Fill between `holes[0]` and `holes[1]` rectangles, of a size from `shapes` (pixels) or `shares` of the image.

    Sizes are (width, height); a rectangle starts at a random pixel and may reach over the edge (DeVries and Taylor
    2017, arXiv:1708.04552).
    """

    holes: tuple[int, int] = (1, 1)
    shapes: tuple[tuple[int, int], ...] = ()
    shares: tuple[tuple[float, float], ...] = ()
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        if bool(self.shapes) == bool(self.shares):
            raise BadRecipe("CutOut takes either shapes or shares")

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample with holes."""
        image, (height, width) = sample.pixels().copy(), sample.size
        for _ in range(int(rng.integers(self.holes[0], self.holes[1] + 1))):
            left, top = int(rng.integers(width)), int(rng.integers(height))
            sizes = self.shapes or tuple((int(a * width), int(b * height)) for a, b in self.shares)
            wide, high = sizes[int(rng.integers(len(sizes)))]
            image[top : top + high, left : left + wide] = self.fill
        return replace(sample, image=image)


def _hsv(sample: Sample, *changes: Callable[[Array], Array]) -> Sample:
    """The sample with each 8-bit plane of hue, saturation and value changed by a table."""
    import cv2

    table = np.arange(256)
    planes = cv2.split(cv2.cvtColor(sample.pixels(), cv2.COLOR_BGR2HSV))
    changed = [cv2.LUT(p, change(table).astype(np.uint8)) for p, change in zip(planes, changes, strict=True)]
    return replace(sample, image=np.asarray(cv2.cvtColor(cv2.merge(changed), cv2.COLOR_HSV2BGR)))


def _times(factor: float) -> Callable[[Array], Array]:
    return lambda table: np.clip(table * factor, 0, 255)


def _grey(image: Array) -> Array:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))


def _blended(sample: Sample, rng: Rng, chance: float, factor: float, ground: Callable[[Array], Array]) -> Sample:
    if rng.random() >= chance:
        return sample
    image = sample.pixels()
    return _with(sample, ground(image) * np.float32(1 - factor) + image * np.float32(factor))


def _with(sample: Sample, image: Array) -> Sample:
    return replace(sample, image=np.clip(np.rint(image), 0, 255).astype(np.uint8))
