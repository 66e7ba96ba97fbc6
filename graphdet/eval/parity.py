"""Do two runs say the same? Errors of arrays, and detections matched one to one."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from graphdet.records import Array

IOU = 0.99
CORNER = 1e-3  # pixels
SCORE = 1e-4
MASK = 1e-3
RIVALS = 0.05  # largest share of objects that may have lost to a rival


def relative_error(found: Array, expected: Array) -> float:
    """Largest difference, relative to the largest magnitude expected.

    A NaN or infinity on one side only is an infinite error.
    """
    if found.shape != expected.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(found)):
        return float("inf")
    scale = np.abs(expected[finite]).max(initial=0.0)
    worst = np.abs(found[finite].astype(np.float64) - expected[finite]).max(initial=0.0)
    return float(worst / max(float(scale), 1e-12)) if worst else 0.0


@dataclass(frozen=True)
class Objects:
    """Detections of one image, without padding: boxes f32[K 4], scores f32[K], labels i64[K].

    masks: f32[K P Q], of a detector that predicts them.
    """

    boxes: Array
    scores: Array
    labels: Array
    masks: Array | None = None

    @classmethod
    def of(cls, outputs: dict[str, Array], image: int) -> Objects:
        """One image of an engine's padded outputs."""
        count = int(outputs["count"][image])
        return cls(**{k: outputs[k][image, :count] for k in (f.name for f in fields(cls)) if k in outputs})


def unmatched(expected: Objects, found: Objects, *, score_threshold: float, iou_threshold: float = 1.0) -> list[int]:
    """Indices of expected objects without a partner.

    A partner has the same label, an IoU of at least 0.99 or corners within 1e-3 pixels (a box may be thinner than
    that, or inside out), a score within 1e-4 of the largest one, and the same mask: in
    the mean, its cells differ by 1e-3 at most.

    Excused are objects whose score lies within that tolerance of the threshold or of the last one kept, and those that
    lost to a rival of equal score (within the tolerance) that overlaps by more than `iou_threshold`, since either order
    is right then. Without suppression (1.0) nothing loses to a rival.
    """
    if not len(expected.scores):
        return []
    tolerance = SCORE * float(expected.scores.max())
    order = np.argsort(found.scores, kind="stable")
    boxes, labels, scores = found.boxes[order], found.labels[order], found.scores[order].astype(np.float64)
    first = np.searchsorted(scores, expected.scores - tolerance, "left")
    stop = np.searchsorted(scores, expected.scores + tolerance, "right")
    last = float(scores[0]) if len(scores) >= len(expected.scores) else 0.0
    cut = max(score_threshold, last) + tolerance
    missing: list[int] = []
    lost_to_rivals: list[int] = []
    for i in np.flatnonzero(~(expected.scores <= cut)):
        near = np.arange(first[i], stop[i])
        rivals = near[labels[near] == expected.labels[i]]
        same = (np.abs(boxes[rivals] - expected.boxes[i]) <= CORNER).all(1)
        overlap = np.maximum(box_iou(expected.boxes[i], boxes[rivals]), same) * _same_masks(
            expected, found, int(i), order[rivals]
        )
        best = overlap.max(initial=0.0)
        if best < IOU:
            (missing if best < iou_threshold - 0.01 else lost_to_rivals).append(int(i))
    return missing if len(lost_to_rivals) <= RIVALS * len(expected.scores) + 1 else sorted(missing + lost_to_rivals)


def _same_masks(expected: Objects, found: Objects, i: int, rows: Array) -> Array:
    """Which rows of `found` have the mask of the expected object i."""
    if expected.masks is None or found.masks is None:
        return np.full(len(rows), expected.masks is found.masks)
    gap = np.abs(found.masks[rows].astype(np.float64) - expected.masks[i]).mean((-2, -1))
    return np.asarray(gap <= MASK)


def box_iou(box: Array, others: Array) -> Array:
    """IoU of one xyxy box f32[4] with others f32[K 4]."""
    box, others = box.astype(np.float64), others.astype(np.float64)  # areas of wild boxes leave the range of float32
    extent = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    inside = extent.prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - inside
    return np.asarray(inside / np.maximum(union, 1e-12))
