"""Which classes are taken for which: a confusion matrix of detections."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from graphdet.eval.voc import Pair, pairwise_iou
from graphdet.records import Array


def confusion_matrix(pairs: Iterable[Pair], classes: int, *, score: float = 0.3, overlap: float = 0.5) -> Array:
    """i64[K+1 K+1]: rows are annotated classes, columns detected ones, the last of each is the background.

    Every detection of at least `score` counts once for each object that it overlaps by `overlap`, and in the row of the
    background where there is none; an object that no detection of its own class overlaps counts in the column of the
    background. Crowds, and detections inside them alone, are left out.
    """
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for truth, found in pairs:
        shown = found.above(score)
        close = pairwise_iou(shown.boxes, truth.boxes) >= overlap
        counted = close[:, ~truth.crowd]
        labels = truth.labels[~truth.crowd]
        for detection, row in zip(shown.labels, counted, strict=True):
            np.add.at(matrix[:, detection], labels[row], 1)
        nothing = ~close.any(1)
        np.add.at(matrix[classes], shown.labels[nothing], 1)
        right = (counted & (shown.labels[:, None] == labels[None])).any(0)
        np.add.at(matrix[:, classes], labels[~right], 1)
    return matrix
