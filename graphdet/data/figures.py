"""Shapes of the drawn scenes: outlines of known extent, and how one is painted onto a canvas.

Contours are f64[P 2] rows (x, y) in pixels; pixel (i, j) covers [j, j + 1] x [i, i + 1]. A figure is the even-odd
interior of its contours, the first of which is the outer one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, pi

import numpy as np

from graphdet.records import Array

Rng = np.random.Generator
SUPERSAMPLE = 4  # masks are drawn this much larger and averaged down: 16 grey levels along edges


@dataclass(frozen=True)
class Figure:
    """A placed shape: label (index into `SHAPES`), contours in image pixels."""

    label: int
    contours: tuple[Array, ...]

    def box(self) -> tuple[float, float, float, float]:
        """Tight xyxy box of the whole figure, not clipped to any image."""
        low, high = self.contours[0].min(axis=0), self.contours[0].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def box_inside(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Tight xyxy box of the part inside an image of (height, width); zeros when there is none.

        A turned figure that the image cuts has a smaller box than the cut of its whole box.
        """
        points = self.contours[0]
        for axis, limit in ((0, size[1]), (1, size[0])):
            points = _cut(points, axis, 0, 1)
            points = _cut(points, axis, limit, -1)
        return Figure(self.label, (points,)).box() if len(points) else (0.0, 0.0, 0.0, 0.0)

    def area(self) -> float:
        """Area in square pixels (outer contour less the hole)."""
        first, *holes = (_polygon_area(c) for c in self.contours)
        return first - sum(holes)

    def mask(self, size: tuple[int, int]) -> Array:
        """f32[H W]: how much of each pixel the figure covers, 0..1."""
        mask = np.zeros(size, np.float32)
        patch = self.patch(size)
        if patch is not None:
            top, left, cover = patch
            mask[top : top + cover.shape[0], left : left + cover.shape[1]] = cover
        return mask

    def patch(self, size: tuple[int, int]) -> tuple[int, int, Array] | None:
        """The part of `mask` that holds the figure: top row, left column, f32[h w]; None when outside the image."""
        import cv2

        x1, y1, x2, y2 = self.box()
        left, top = max(0, floor(x1)), max(0, floor(y1))
        right, bottom = min(size[1], ceil(x2)), min(size[0], ceil(y2))
        if left >= right or top >= bottom:
            return None
        width, height, fraction = right - left, bottom - top, 8
        fine = np.zeros((height * SUPERSAMPLE, width * SUPERSAMPLE), np.uint8)
        # cv2 puts the centre of pixel 0 at 0; ours is at 0.5.
        points = [((c - (left, top)) * SUPERSAMPLE - 0.5) * 2**fraction for c in self.contours]
        cv2.fillPoly(fine, [np.round(p).astype(np.int32) for p in points], 255, shift=fraction)
        return top, left, cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _polygon_area(points: Array) -> float:
    x, y = points.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _cut(points: Array, axis: int, limit: float, side: int) -> Array:
    """The polygon's part where side * coordinate >= side * limit (Sutherland and Hodgman 1974)."""
    ahead = np.roll(points, -1, axis=0)
    depth, depth_ahead = side * (points[:, axis] - limit), side * (ahead[:, axis] - limit)
    crossing = (depth > 0) != (depth_ahead > 0)
    share = np.divide(depth, depth - depth_ahead, out=np.zeros_like(depth), where=crossing)
    cuts = points + share[:, None] * (ahead - points)
    cuts[:, axis] = limit
    both = np.stack([points, cuts], axis=1)  # each vertex, then where the edge behind it crosses
    kept: Array = both[np.stack([depth > 0, crossing], axis=1)]
    return kept


# --- shapes around the origin, of any size ----------------------------------------------------------------------------


def _turn(count: int, radius: float | Array = 1.0) -> Array:
    angle = np.arange(count) * (2 * pi / count)
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius], axis=1)


def _circle(rng: Rng) -> tuple[Array, ...]:
    return (_turn(128) * (1, rng.uniform(0.75, 1)),)


def _rectangle(rng: Rng) -> tuple[Array, ...]:
    return (np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)]) * (1, rng.uniform(0.45, 1)),)


def _triangle(rng: Rng) -> tuple[Array, ...]:
    return (np.array([(-1.0, 0.8), (1, 0.8), (rng.uniform(-0.5, 0.5), rng.uniform(-1, -0.6))]),)


def _star(rng: Rng) -> tuple[Array, ...]:
    radius = np.ones(10)
    radius[1::2] = rng.uniform(0.36, 0.5)
    return (_turn(10, radius),)


def _ring(rng: Rng) -> tuple[Array, ...]:
    squash = (1, rng.uniform(0.75, 1))
    return _turn(128) * squash, _turn(128) * squash * rng.uniform(0.45, 0.65)


SHAPES: dict[str, Callable[[Rng], tuple[Array, ...]]] = {
    "circle": _circle,
    "rectangle": _rectangle,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
}


def figure(rng: Rng, label: int, centre: tuple[float, float], extent: float) -> Figure:
    """A shape of class `label`, turned at random; its box is centred at (x, y), the longer side is `extent` pixels."""
    contours = list(SHAPES.values())[label](rng)
    angle = rng.uniform(0, 2 * pi)
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    contours = tuple(c @ turn.T for c in contours)
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    scale = extent / (high - low).max()
    return Figure(label, tuple((c - (low + high) / 2) * scale + centre for c in contours))


# --- paint ------------------------------------------------------------------------------------------------------------


def paint(rng: Rng, canvas: Array, shape: Figure) -> None:
    """Paint a figure onto canvas f32[H W 3] (0..255) in place: shaded, perhaps with pattern, outline and shadow."""
    patch = shape.patch(canvas.shape[:2])
    if patch is None:
        return
    top, left, cover = patch
    height, width = cover.shape
    if rng.random() < 0.5:
        _shadow(rng, canvas, shape)
    region = canvas[top : top + height, left : left + width]
    under = region[cover > 0.5]
    colour = contrasting(rng, under.mean(axis=0) if len(under) else region.mean(axis=(0, 1)))
    fill = _shade(rng, colour, height, width)
    if rng.random() < 0.6:
        x1, y1, x2, y2 = shape.box()
        thick = max(1.0, 0.06 * max(x2 - x1, y2 - y1) * rng.uniform(0.6, 1.4))
        cut = (y1 < 0, y2 > canvas.shape[0], x1 < 0, x2 > canvas.shape[1])
        inside = np.clip(_depth(cover, cut) - thick, 0, 1)[..., None]
        edge = colour * 0.35 if rng.random() < 0.6 else 255 - (255 - colour) * 0.3
        fill = fill * inside + edge * (1 - inside)  # the outline lies inside the figure: its box stays tight
    region += (fill - region) * cover[..., None]


def _depth(cover: Array, cut: tuple[bool, bool, bool, bool]) -> Array:
    """f32[h w]: how far each pixel lies inside; where the image cuts a side (top, bottom, left, right) is no edge."""
    import cv2

    solid = np.pad((cover > 0.5).astype(np.uint8), 1)
    for side, near, far in zip(cut[:2], (0, -1), (1, -2), strict=True):
        if side:
            solid[near] = solid[far]
    for side, near, far in zip(cut[2:], (0, -1), (1, -2), strict=True):
        if side:
            solid[:, near] = solid[:, far]
    return np.asarray(cv2.distanceTransform(solid, cv2.DIST_L2, 5)[1:-1, 1:-1])


def contrasting(rng: Rng, under: Array) -> Array:
    """A saturated random BGR colour, f32[3], well away from `under`."""
    import cv2

    hsv = np.stack([rng.uniform(0, 360, 6), rng.uniform(0.45, 1, 6), rng.uniform(0.35, 1, 6)], axis=1)
    colours = cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2BGR)[0] * 255
    distance = np.abs(colours - under).sum(axis=1)
    far = np.flatnonzero(distance > 150)
    chosen = far[0] if len(far) else distance.argmax()
    return np.asarray(colours[chosen], np.float32)


def _shade(rng: Rng, colour: Array, height: int, width: int) -> Array:
    """f32[h w 3]: the colour with a linear light, and in part of the cases stripes or dots."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    angle = rng.uniform(0, 2 * pi)
    light = 1 + rng.uniform(0.05, 0.35) * (np.cos(angle) * x + np.sin(angle) * y)
    kind = rng.random()
    if kind < 0.35 and min(height, width) >= 20:
        waves, turn = rng.uniform(6, 14), rng.uniform(0, pi)
        wave = np.sin(waves * (np.cos(turn) * x + np.sin(turn) * y))
        if kind < 0.15:
            wave = wave * np.sin(waves * (np.sin(turn) * x - np.cos(turn) * y))
        light = light * (1 + rng.uniform(0.15, 0.3) * np.clip(4 * wave, -1, 1))
    shaded: Array = np.clip(colour * light[..., None].astype(np.float32), 0, 255)
    return shaded


def _shadow(rng: Rng, canvas: Array, shape: Figure) -> None:
    import cv2

    x1, y1, x2, y2 = shape.box()
    extent = max(x2 - x1, y2 - y1)
    shift = rng.uniform(0.03, 0.08, 2) * extent
    sigma = max(0.8, 0.04 * extent)
    cast = Figure(shape.label, tuple(c + shift for c in shape.contours))
    patch = cast.patch(canvas.shape[:2])
    if patch is None:
        return
    top, left, cover = patch
    border = ceil(3 * sigma)
    cover = cv2.GaussianBlur(np.pad(cover, border), (0, 0), sigma)
    up, back = max(0, border - top), max(0, border - left)
    region = canvas[max(0, top - border) :, max(0, left - border) :]
    cover = cover[up : up + region.shape[0], back : back + region.shape[1]]
    region[: cover.shape[0], : cover.shape[1]] *= 1 - np.float32(rng.uniform(0.2, 0.5)) * cover[..., None]
