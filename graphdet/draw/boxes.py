"""Detections as a picture: boxes, and chips with class and score that keep out of each other's way."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from graphdet.errors import BadImage
from graphdet.records import Array, Detections, Truth

Colour = tuple[int, int, int]
Rect = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels, x2 and y2 exclusive
FINE = 4  # text is drawn this much larger and averaged down, which smooths OpenCV's stroke font


def draw_detections(image: Array, detections: Detections, *, score: float = 0.3, scores: bool = True) -> Array:
    """Draw boxes with class names and scores, and masks where there are any, onto a copy of an image.

    Args:
        image: u8[H W], u8[H W 1], u8[H W 3] (BGR) or u8[H W 4] (BGRA, alpha is dropped).
        detections: boxes in pixels of this image.
        score: detections below it are left out.
        scores: write the score beside the class name.

    Returns:
        u8[H W 3] BGR. The colour of a class is the same in every picture. A chip sits above its box, or else inside it
        or below it, always inside the image. Where chips would hide each other or small boxes, those of the best
        detections stay.

    Raises:
        BadImage: the image has another dtype or shape.
    """
    canvas = as_bgr(image)
    shown = _drawable(detections, score)
    order = np.argsort(-shown.scores, kind="stable")
    style = Style.of(canvas.shape[:2], len(order))
    boxes = [_rect(shown.boxes[i], canvas.shape[:2]) for i in order]
    colours = [class_colour(int(shown.labels[i])) for i in order]
    if shown.masks is not None:
        for i, colour in reversed(list(zip(order, colours, strict=True))):  # one at a time: bitmaps are large
            _tint(canvas, shown.masks[np.asarray([i])].bitmaps()[0] > 0, colour)
    for box, colour in reversed(list(zip(boxes, colours, strict=True))):  # the best last, on top
        _draw_box(canvas, box, colour, style)
    taken = [box for box in boxes if _area(box) < style.tiny]  # chips must not bury what they name
    for i, box, colour in zip(order, boxes, colours, strict=True):
        text = shown.name(int(shown.labels[i])) + (f" {shown.scores[i]:.2f}" if scores else "")
        mask = _text(text, style)
        place = _place(box, (mask.shape[1], mask.shape[0]), canvas.shape[:2], taken)
        if place is not None:
            taken.append(place)
            _draw_chip(canvas, place, mask, colour)
    return canvas


def draw_truth(image: Array, truth: Truth, classes: tuple[str, ...] = ()) -> Array:
    """Draw annotated boxes with class names onto a copy of an image; crowd regions are named as such."""
    count = len(classes)
    names = (*classes, *(f"{name} (crowd)" for name in classes))
    labels = np.where(truth.crowd, truth.labels + count, truth.labels) if count else truth.labels
    boxes = Detections(truth.boxes, np.ones(len(labels), np.float32), labels, names)
    return draw_detections(image, boxes, score=0.0, scores=False)


def as_bgr(image: Array) -> Array:
    """A contiguous u8[H W 3] copy of a grey, BGR or BGRA image. Raises BadImage for anything else."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise BadImage(
            f"cannot draw on {image.dtype}{list(image.shape)}, expected uint8 [H W], [H W 1], [H W 3] or [H W 4]"
        )
    pixels = image if image.ndim == 3 else image[..., None]
    if pixels.shape[2] not in (1, 3, 4):
        raise BadImage(f"cannot draw on {pixels.shape[2]} channels, expected 1, 3 or 4")
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return np.array(pixels, np.uint8, order="C")


def class_colour(label: int) -> Colour:
    """The BGR colour of a class: neighbouring labels lie far apart in hue, lightness cycles through three steps."""
    hue = (0.58 + label * 0.61803398875) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.52, 0.62, 0.44)[label % 3], (0.9, 0.85, 0.75)[label % 3])
    return round(255 * blue), round(255 * green), round(255 * red)


@dataclass(frozen=True)
class Style:
    """Sizes in pixels that follow from the image size and from how crowded the picture is."""

    line: int
    text: int  # height of capital letters
    pad: int
    tiny: int  # boxes of fewer square pixels are kept free of chips

    @classmethod
    def of(cls, size: tuple[int, int], count: int) -> Style:
        """The style for an image of (height, width) with `count` boxes."""
        scale = (size[0] * size[1]) ** 0.5 / (1.0 if count <= 30 else 1.25)
        text = max(7, round(scale / 58))
        return cls(max(1, round(scale / 280)), text, max(2, round(text * 0.42)), tiny=20 * text * text)


# --- inside -----------------------------------------------------------------------------------------------------------


def _drawable(detections: Detections, score: float) -> Detections:
    shown = detections.above(score)
    finite = np.isfinite(shown.boxes).all(axis=1) if len(shown) else np.zeros(0, bool)
    return replace(shown, boxes=shown.boxes.reshape(-1, 4)).take(np.flatnonzero(finite))


def _rect(box: Array, size: tuple[int, int]) -> Rect:
    """The pixels that a box covers, at least one, clipped to the image."""
    height, width = size
    x1, y1 = (int(np.clip(np.floor(v), 0, limit - 1)) for v, limit in zip(box[:2], (width, height), strict=True))
    x2, y2 = (int(np.clip(np.ceil(v), 1, limit)) for v, limit in zip(box[2:], (width, height), strict=True))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _tint(canvas: Array, mask: Array, colour: Colour) -> None:
    """Colour laid thinly over a mask, with a line along its inner edge."""
    import cv2

    edge = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    for part, opacity in ((mask, 0.4), (edge, 0.7)):
        canvas[part] = canvas[part] + (np.array(colour) - canvas[part]) * opacity


def _draw_box(canvas: Array, box: Rect, colour: Colour, style: Style) -> None:
    """A frame whose outer edge is the box, with a thin dark rim inside and out that keeps it visible on any ground."""
    x1, y1, x2, y2 = box
    line = min(style.line, max(1, min(x2 - x1, y2 - y1) // 8))
    _frame(canvas, (x1 - 1, y1 - 1, x2 + 1, y2 + 1), line + 2, (0, 0, 0), 0.35)
    _frame(canvas, box, line, colour, 1.0)


def _frame(canvas: Array, box: Rect, line: int, colour: Colour, opacity: float) -> None:
    x1, y1, x2, y2 = box
    inner = max(y1, y1 + line), min(y2, y2 - line)
    strips = ((x1, y1, x2, y1 + line), (x1, y2 - line, x2, y2))
    sides = ((x1, inner[0], x1 + line, inner[1]), (x2 - line, inner[0], x2, inner[1]))
    for left, top, right, bottom in (*strips, *sides):
        part = canvas[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        part[:] = part + (np.array(colour) - part) * opacity


def _text(text: str, style: Style) -> Array:
    """f32[h w] 0..1: the text with its padding, the size of its chip."""
    import cv2

    plain = text.encode("ascii", "replace").decode()  # the stroke font has no other letters
    font, thick = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(style.text * FINE / 7.5))
    scale = cv2.getFontScaleFromHeight(font, style.text * FINE, thick)
    (width, height), base = cv2.getTextSize(plain, font, scale, thick)
    pad = style.pad * FINE
    columns, rows = ceil((width + 2 * pad) / FINE), ceil((height + base * 0.45 + 1.6 * pad) / FINE)
    fine = np.zeros((rows * FINE, columns * FINE), np.uint8)
    cv2.putText(fine, plain, (pad, height + round(0.8 * pad)), font, scale, 255, thick, cv2.LINE_AA)
    return cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _place(box: Rect, chip: tuple[int, int], size: tuple[int, int], taken: list[Rect]) -> Rect | None:
    """Where a chip (width, height) goes: the first free place around its box; None when a small box has no free one."""
    x1, y1, x2, y2 = box
    width, height = chip
    others = [t for t in taken if t != box]
    corners = [(x1, y1 - height), (x1, y1), (x1, y2), (x2 - width, y1 - height), (x2 - width, y2), (x2, y1)]
    small = _area(box) < 6 * width * height
    if small:  # do not cover the object with its own name
        corners.remove((x1, y1))
    inside = [_inside(c, chip, size) for c in corners]
    for moved, (x, y) in zip(inside, corners, strict=True):
        off = abs(moved[1] - y) > 0 or abs(moved[0] - x) > width
        if not off and not any(_overlap(moved, t) for t in others):
            return moved
    if small and others:
        return None
    return _inside((x1, max(y1, 0)), chip, size)


def _inside(corner: tuple[int, int], chip: tuple[int, int], size: tuple[int, int]) -> Rect:
    x = max(0, min(corner[0], size[1] - chip[0]))
    y = max(0, min(corner[1], size[0] - chip[1]))
    return x, y, x + chip[0], y + chip[1]


def _area(a: Rect) -> int:
    return (a[2] - a[0]) * (a[3] - a[1])


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _draw_chip(canvas: Array, place: Rect, mask: Array, colour: Colour) -> None:
    x1, y1, x2, y2 = place
    part = canvas[y1:y2, x1:x2]  # smaller than the mask when the whole image is
    cover = mask[: part.shape[0], : part.shape[1], None]
    blue, green, red = colour
    ink = 0.0 if 0.114 * blue + 0.587 * green + 0.299 * red > 135 else 255.0
    ground = part + (np.array(colour, np.float32) - part) * 0.92
    part[:] = np.clip(ground + (ink - ground) * cover + 0.5, 0, 255)
