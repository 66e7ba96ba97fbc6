"""Drawn segments: colours of classes and instances, void, names, odd images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphdet.draw import class_colour, draw_panoptic
from graphdet.errors import BadImage
from graphdet.records import Panoptic

GREY = np.full((240, 320, 3), 90, np.uint8)


def segments() -> Panoptic:
    """Two cats over the sky; void at the bottom."""
    drawn = np.zeros((240, 320), np.int32)
    drawn[:200], drawn[40:180, 20:120], drawn[40:180, 180:300] = 9, 5, 6
    return Panoptic(drawn, np.array([5, 6, 9]), np.array([0, 0, 1]), np.zeros(3, np.bool_), ("cat", "sky"))


def test_segments_are_tinted_and_void_is_not() -> None:
    before = GREY.copy()
    picture = draw_panoptic(GREY, segments())
    np.testing.assert_array_equal(GREY, before)
    np.testing.assert_array_equal(picture[201:], GREY[201:])
    inside = picture[110, 70]
    assert np.abs(inside - (90 + 0.4 * (np.array(class_colour(0)) - 90.0))).max() <= 1
    assert (picture[110, 240] != inside).any(), "the second cat has another lightness"
    assert (picture[110, 150] != inside).any()
    assert (picture[110, 20] != inside).any(), "a line along the edge"


def test_names_are_written() -> None:
    named, other = draw_panoptic(GREY, segments()), draw_panoptic(GREY, replace(segments(), classes=("dog", "sky")))
    assert (named != other).any()
    assert segments().as_dict() == {
        "size": [240, 320],
        "segments": [
            {"id": 5, "class": "cat", "label": 0, "area": 14000},
            {"id": 6, "class": "cat", "label": 0, "area": 16800},
            {"id": 9, "class": "sky", "label": 1, "area": 33200},
        ],
    }


def test_odd_images() -> None:
    none = Panoptic(np.zeros((1, 1), np.int32), np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.bool_))
    assert draw_panoptic(np.full((1, 1), 7, np.uint8), none).tolist() == [[[7, 7, 7]]]
    absent = replace(none, ids=np.array([3]), labels=np.array([0]), crowd=np.zeros(1, np.bool_))
    assert draw_panoptic(np.full((1, 1), 7, np.uint8), absent).tolist() == [[[7, 7, 7]]], "a segment without pixels"
    with pytest.raises(BadImage, match="cannot draw segments"):
        draw_panoptic(GREY, none)
