"""Panoptic segments as a picture: each pixel in its segment's colour, and a chip with the class of each segment."""

from __future__ import annotations

import numpy as np

from graphdet.draw.boxes import Colour, Rect, Style, _draw_chip, _place, _rect, _text, _tint, as_bgr, class_colour
from graphdet.errors import BadImage
from graphdet.records import Array, Panoptic


def draw_panoptic(image: Array, panoptic: Panoptic) -> Array:
    """Lay the segments of an image over a copy of it; void stays as it is.

    Args:
        image: u8[H W], u8[H W 1], u8[H W 3] (BGR) or u8[H W 4] (BGRA, alpha is dropped).
        panoptic: segments of the pixels of this image.

    Returns:
        u8[H W 3] BGR. Segments of one class have its colour, each in another lightness, with a line along their edges.

    Raises:
        BadImage: the image has another dtype or shape, or another size than the map of segments.
    """
    canvas = as_bgr(image)
    size = canvas.shape[:2]
    if panoptic.map.shape != size:
        raise BadImage(f"cannot draw segments of {list(panoptic.map.shape)} pixels on an image of {list(size)}")
    masks = [panoptic.map == i for i in panoptic.ids]
    order = np.argsort([-np.count_nonzero(mask) for mask in masks], kind="stable")
    colours = [_shade(int(label), _earlier(panoptic.labels, i)) for i, label in enumerate(panoptic.labels)]
    style = Style.of(size, len(masks))
    taken: list[Rect] = []
    for mask, colour in zip(masks, colours, strict=True):
        _tint(canvas, mask, colour)
    for i in order:  # the largest are named first
        rows, columns = np.nonzero(masks[i])
        if not len(rows):
            continue
        text = _text(panoptic.name(int(panoptic.labels[i])), style)
        around = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        place = _place(_rect(around, size), (text.shape[1], text.shape[0]), size, taken)
        if place is not None:
            taken.append(place)
            _draw_chip(canvas, place, text, colours[i])
    return canvas


def _earlier(labels: Array, at: int) -> int:
    """How many segments of the same class come before."""
    return int(np.count_nonzero(labels[:at] == labels[at]))


def _shade(label: int, number: int) -> Colour:
    """The colour of a class, moved towards white and black in turn for its second and later segments."""
    towards = 255 * (number % 2)
    part = min(0.6, 0.2 * ((number + 1) // 2))
    blue, green, red = (round(v + (towards - v) * part) for v in class_colour(label))
    return blue, green, red
