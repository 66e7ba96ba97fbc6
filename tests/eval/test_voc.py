"""VOC's figures against the reference evaluator's published ones, and the confusion matrix by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphdet.errors import BadDataset
from graphdet.eval import average_precision, confusion_matrix, evaluate_voc
from graphdet.records import Detections, Truth

# IoU -> (all-point, eleven-point, true positives), with extents counted inclusively and not
GOLDEN = {
    True: {
        0.10: (0.3371980676, 0.3333333333, 9),
        0.30: (0.2456866805, 0.2683982684, 7),
        0.50: (0.0222222222, 0.0303030303, 1),
        0.75: (0.0, 0.0, 0),
    },
    False: {
        0.10: (0.2801328502, 0.3024538867, 8),
        0.30: (0.2253968254, 0.2683982684, 6),
        0.50: (0.0222222222, 0.0303030303, 1),
        0.75: (0.0, 0.0, 0),
    },
}


def read(folder: Path) -> list[tuple[Truth, Detections]]:
    """The reference's text files: class, (score,) x, y, width, height."""
    pairs = []
    for file in sorted((folder / "groundtruths").glob("*.txt")):
        rows, found = (np.array([line.split()[1:] for line in f.read_text().splitlines()], np.float64)
                       for f in (file, folder / "detections" / file.name))  # fmt: skip
        boxes, scores = found[:, 1:].copy(), found[:, 0]
        rows[:, 2:] += rows[:, :2]
        boxes[:, 2:] += boxes[:, :2]
        pairs.append((truth(rows.tolist()), Detections(boxes, scores, np.zeros(len(boxes), np.int64))))
    return pairs


def truth(boxes: list[list[float]], labels: list[int] | None = None, crowd: list[bool] | None = None) -> Truth:
    count = len(boxes)
    return Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels or [0] * count, np.int64),
        np.array(crowd or [False] * count, np.bool_),
    )


def found(boxes: list[list[float]], scores: list[float], labels: list[int] | None = None) -> Detections:
    values = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(values, np.array(scores), np.array(labels or [0] * len(scores), np.int64))


@pytest.mark.data
@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("overlap", [0.10, 0.30, 0.50, 0.75])
def test_published_figures(shared: Callable[[str], Path], inclusive: bool, overlap: float) -> None:
    pairs = read(shared("data/voc-map-golden"))
    area, eleven, correct = GOLDEN[inclusive][overlap]
    for points, expected in (("all", area), ("eleven", eleven)):
        result = evaluate_voc(pairs, ("person",), overlap=overlap, points=points, inclusive=inclusive)  # type: ignore[arg-type]
        assert result.mean == pytest.approx(expected, abs=1e-9)
        assert int(result.curves["person"].correct.sum()) == correct


def test_difficult_objects_do_not_count() -> None:
    pairs = [(truth([[0, 0, 9, 9], [20, 20, 30, 30]], crowd=[False, True]),
              found([[0, 0, 9, 9], [20, 20, 30, 30], [21, 20, 31, 30]], [0.5, 0.9, 0.8]))]  # fmt: skip
    curve = evaluate_voc(pairs, ("a",)).curves["a"]
    assert (curve.objects, len(curve.scores), curve.ap) == (1, 1, 1.0)


def test_an_object_is_found_once() -> None:
    pairs = [(truth([[0, 0, 10, 10]]), found([[0, 0, 10, 9], [0, 0, 10, 10]], [0.9, 0.8]))]
    curve = evaluate_voc(pairs, ("a",)).curves["a"]
    assert curve.correct.tolist() == [True, False]
    assert curve.precision.tolist() == [1.0, 0.5]


def test_nothing() -> None:
    result = evaluate_voc([(truth([]), found([], [])), (truth([[0, 0, 9, 9]]), found([], []))], ("a", "b"))
    assert result.curves["a"].ap == 0.0
    assert result.curves["b"].ap == -1.0
    assert result.mean == 0.0
    assert evaluate_voc([], ()).mean == -1.0
    with pytest.raises(BadDataset):
        evaluate_voc([(truth([[0, 0, 9, 9]], [3]), found([], []))], ("a",))


def test_average_precision_takes_the_envelope() -> None:
    recall, precision = np.array([0.25, 0.25, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3, 0.8])
    assert average_precision(recall, precision) == pytest.approx(0.25 + 0.25 * 0.8 + 0.5 * 0.8)
    assert average_precision(recall, precision, "eleven") == pytest.approx((3 * 1.0 + 8 * 0.8) / 11)


def test_confusion_matrix() -> None:
    objects = truth(
        [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 90, 30]], [0, 1, 1, 0], [False, False, False, True]
    )
    boxes: list[list[float]] = [[0, 0, 10, 10], [20, 0, 30, 10], [70, 70, 80, 80], [60, 0, 90, 30], [0, 0, 10, 10]]
    pairs = [(objects, found(boxes, [0.9, 0.9, 0.9, 0.9, 0.1], [0, 0, 1, 1, 1]))]
    expected = [[1, 0, 0], [1, 0, 2], [0, 1, 0]]
    assert confusion_matrix(pairs, 2).tolist() == expected
    assert confusion_matrix([(truth([]), found([], []))], 1).tolist() == [[0, 0], [0, 0]]
