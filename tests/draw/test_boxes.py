"""Drawn boxes: colours, borders, chips, odd images."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from graphdet.data import SCENE_CLASSES, Scenes
from graphdet.draw import as_bgr, class_colour, draw_detections, draw_truth
from graphdet.draw.boxes import Style, _place
from graphdet.errors import BadImage
from graphdet.records import Detections, Truth
from graphdet.runtime.masks import GridMasks

GREY = np.full((240, 320, 3), 90, np.uint8)


def found(*boxes: tuple[float, ...], score: float = 0.8, label: int = 0) -> Detections:
    count = len(boxes)
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(rows, np.full(count, score, np.float32), np.full(count, label), ("cat", "dog"))


def test_a_box_is_drawn_in_its_class_colour_on_a_copy() -> None:
    before = GREY.copy()
    picture = draw_detections(GREY, found((50, 60, 150, 200)))
    np.testing.assert_array_equal(GREY, before)
    assert tuple(picture[199, 100]) == class_colour(0)
    assert tuple(picture[130, 50]) == class_colour(0)
    assert tuple(picture[130, 149]) == class_colour(0)
    assert tuple(picture[130, 100]) == (90, 90, 90)
    assert (picture[40:59, 52:100] != 90).any(), "the chip stands above the box"


def test_zero_detections_and_low_scores_leave_the_image() -> None:
    np.testing.assert_array_equal(draw_detections(GREY, found()), GREY)
    np.testing.assert_array_equal(draw_detections(GREY, found((5, 5, 50, 50), score=0.2)), GREY)
    assert (draw_detections(GREY, found((5, 5, 50, 50), score=0.2), score=0.1) != GREY).any()


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1), (60, 80, 3), (60, 80, 4)])
def test_grey_colour_and_alpha_images(shape: tuple[int, ...]) -> None:
    picture = draw_detections(np.full(shape, 40, np.uint8), found((5, 30, 50, 55)))
    assert picture.shape == (60, 80, 3)
    assert picture.dtype == np.uint8
    assert (picture != 40).any()


@pytest.mark.parametrize(
    "box",
    [
        (-100, -100, 1000, 1000),
        (-50, -50, -10, -10),
        (400, 300, 500, 400),
        (318, 238, 320, 240),
        (10, 10, 10, 10),
        (90, 90, 20, 20),
        (0, 0, 320, 1),
        (float("nan"), 0, 5, 5),
        (0, 0, float("inf"), 5),
    ],
)
def test_boxes_at_and_beyond_the_border(box: tuple[float, ...]) -> None:
    assert draw_detections(GREY, found(box)).shape == GREY.shape


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (12, 12)])
def test_images_smaller_than_a_chip(size: tuple[int, int]) -> None:
    assert draw_detections(np.zeros(size, np.uint8), found((0, 0, 2, 2), (0, 0, 200, 200))).shape == (*size, 3)


def test_a_view_with_strides_is_accepted() -> None:
    view = np.zeros((100, 100, 3), np.uint8)[::2, ::-2]
    assert draw_detections(view, found((5, 5, 20, 20))).shape == (50, 50, 3)


def test_chips_stay_inside_and_apart() -> None:
    taken: list[tuple[int, int, int, int]] = []
    for box in ((0, 0, 100, 80), (2, 2, 101, 81), (250, 10, 320, 100), (0, 200, 60, 240), (300, 220, 320, 240)):
        place = _place(box, (60, 14), (240, 320), taken)
        assert place is not None
        x1, y1, x2, y2 = place
        assert 0 <= x1 < x2 <= 320
        assert 0 <= y1 < y2 <= 240
        assert all(x1 >= t[2] or t[0] >= x2 or y1 >= t[3] or t[1] >= y2 for t in taken)
        taken.append(place)


def test_small_boxes_are_not_buried_under_chips() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 220, (60, 2))
    boxes = np.concatenate([corners, corners + 12], axis=1)
    picture = draw_detections(GREY, found(*boxes))
    visible = sum(tuple(picture[int(y) + 5, int(x)]) == class_colour(0) for x, y in corners)
    assert visible >= 50


def test_the_best_detection_lies_on_top() -> None:
    boxes = np.array([[50, 60, 150, 200]] * 2, np.float32)
    both = Detections(boxes, np.array([0.5, 0.9], np.float32), np.array([0, 1]))
    assert tuple(draw_detections(GREY, both)[199, 100]) == class_colour(1)


def test_colours_are_stable_and_distinct() -> None:
    colours = [class_colour(i) for i in range(80)]
    assert colours == [class_colour(i) for i in range(80)]
    assert len(set(colours)) == 80
    assert all(np.abs(np.subtract(a, b)).sum() > 100 for a, b in pairwise(colours))


def test_lines_grow_with_the_image() -> None:
    small, large = Style.of((240, 320), 3), Style.of((2160, 3840), 3)
    assert large.line > small.line
    assert large.text > small.text
    assert Style.of((2160, 3840), 100).text < large.text


def test_names_that_the_font_lacks_and_unknown_labels() -> None:
    names = Detections(np.array([[5, 50, 90, 90]], np.float32), np.ones(1), np.array([0]), ("犬",))
    assert draw_detections(GREY, names).shape == GREY.shape
    assert draw_detections(GREY, found((5, 50, 90, 90), label=7)).shape == GREY.shape


def test_truth() -> None:
    sample = Scenes(4, seed=3).sample(1)
    picture = draw_truth(sample.pixels(), sample.truth, SCENE_CLASSES)
    assert (picture != sample.pixels()).any()
    crowd = Truth(np.array([[20, 50, 90, 90]], np.float32), np.zeros(1, np.int64), np.array([True]))
    assert (draw_truth(GREY, crowd, ("sheep",)) != draw_truth(GREY, crowd)).any()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(BadImage):
        as_bgr(image)


def test_masks_are_tinted() -> None:
    image = np.full((60, 80, 3), 128, np.uint8)
    boxes = np.array([[10, 10, 50, 50]], np.float32)
    masks = GridMasks(np.pad(np.ones((1, 8, 8), np.float32), ((0, 0), (10, 10), (10, 10))), boxes, (60, 80))
    found = Detections(boxes, np.array([0.9], np.float32), np.array([2]), (), (60, 80), masks)
    plain = draw_detections(image, replace(found, masks=None))
    changed = (draw_detections(image, found) != plain).any(2)
    assert np.array_equal(changed, masks.bitmaps()[0] > 0)
    assert changed.sum() > 50
    assert np.array_equal(draw_detections(image, found, score=0.95), image)
