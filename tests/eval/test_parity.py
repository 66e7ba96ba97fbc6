"""Comparing arrays and detections: what counts as the same, and what does not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from graphdet.eval.parity import Objects, box_iou, relative_error, unmatched

BOXES = np.asarray([[0, 0, 10, 10], [20, 20, 40, 60], [50, 0, 90, 30]], np.float32)
EXPECTED = Objects(BOXES, np.asarray([0.9, 0.6, 0.4], np.float32), np.asarray([0, 1, 0], np.int64))


def lost(found: Objects, expected: Objects = EXPECTED) -> list[int]:
    return unmatched(expected, found, score_threshold=0.1, iou_threshold=0.5)


def pick(*rows: int, boxes: float = 0.0, scores: float = 0.0, labels: int = 0) -> Objects:
    """Some of the expected objects, shifted."""
    index = list(rows)
    return Objects(BOXES[index] + boxes, EXPECTED.scores[index] + scores, EXPECTED.labels[index] + labels)


def test_equal_detections_match_in_any_order() -> None:
    assert lost(pick(0, 1, 2)) == lost(pick(2, 0, 1)) == []


def test_small_differences_match() -> None:
    assert lost(pick(0, 1, 2, boxes=0.01, scores=5e-5)) == []


@pytest.mark.parametrize("rows", [(), (0,), (1, 2)], ids=str)
def test_objects_that_are_left_out_are_missed(rows: tuple[int, ...]) -> None:
    """None at all and only the best ones, too: they are no full list."""
    assert lost(pick(*rows)) == [i for i in range(3) if i not in rows]


def test_other_boxes_scores_and_labels_are_missed() -> None:
    assert lost(pick(0, 1, 2, boxes=1.0)) == [0, 1]  # the last one of a full list may be another
    assert lost(pick(0, 1, 2, scores=-0.01)) == [0, 1, 2]
    assert lost(pick(0, 1, 2, labels=1)) == [0, 1]


def test_scores_at_the_threshold_are_excused() -> None:
    assert unmatched(EXPECTED, pick(0, 1), score_threshold=0.4, iou_threshold=0.5) == []


def test_a_rival_of_equal_score_is_excused() -> None:
    boxes = BOXES.copy()
    boxes[0, 2] += 4  # IoU 10 / 14
    assert lost(Objects(boxes, EXPECTED.scores, EXPECTED.labels)) == []


def test_wrong_boxes_are_no_rivals() -> None:
    wider = BOXES + np.asarray([0, 0, 4, 0], np.float32)
    assert lost(Objects(wider, EXPECTED.scores, EXPECTED.labels)) == [0, 1]


def test_nothing_is_expected() -> None:
    empty = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert lost(pick(0, 1), empty) == lost(empty, empty) == []


def test_wild_boxes_give_no_warning() -> None:
    big = np.asarray([-3e38, -3e38, 3e38, 3e38], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert box_iou(big, big[None])[0] == pytest.approx(1)


def test_relative_error() -> None:
    a = np.asarray([1.0, -4.0], np.float32)
    assert relative_error(a, a) == 0
    assert relative_error(a + np.float32(0.5), a) == pytest.approx(0.125)
    assert relative_error(a, a[:1]) == np.inf
    assert relative_error(np.asarray([1, np.nan], np.float32), a) == np.inf
    assert relative_error(np.zeros(0), np.zeros(0)) == 0
