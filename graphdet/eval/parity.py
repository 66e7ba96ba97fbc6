"""Do two runs say the same? Errors of arrays, and detections matched one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphdet.records import Array

IOU = 0.99
SCORE = 1e-4


def relative_error(found: Array, expected: Array) -> float:
    """Largest difference, relative to the largest magnitude expected. A NaN or infinity on one side only is an infinite error."""
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
    """Detections of one image, without padding: boxes f32[K 4], scores f32[K], labels i64[K]."""

    boxes: Array
    scores: Array
    labels: Array

    @classmethod
    def of(cls, outputs: dict[str, Array], image: int) -> Objects:
        """One image of an engine's padded outputs."""
        count = int(outputs["count"][image])
        return cls(*(outputs[k][image, :count] for k in ("boxes", "scores", "labels")))


def unmatched(expected: Objects, found: Objects, *, score_threshold: float, iou_threshold: float) -> list[int]:
    """Indices of expected objects without a partner: same label, IoU >= 0.99, score within 1e-4 of the largest score.

    Excused are objects whose score lies within that tolerance of the threshold or of the last one kept, and those that lost to an
    overlapping rival of equal score (within the tolerance), since either order is right then.
    """
    if not len(expected.scores):
        return []
    tolerance = SCORE * float(expected.scores.max())
    last = float(found.scores.min(initial=np.inf)) if len(found.scores) else np.inf
    missing = []
    for i in range(len(expected.scores)):
        close = (np.abs(found.scores - expected.scores[i]) <= tolerance) & (found.labels == expected.labels[i])
        overlap = box_iou(expected.boxes[i], found.boxes[close])
        edge = expected.scores[i] <= score_threshold + tolerance or expected.scores[i] <= last + tolerance
        if not (overlap >= IOU).any() and not edge and not (overlap >= iou_threshold - 0.01).any():
            missing.append(i)
    return missing


def box_iou(box: Array, others: Array) -> Array:
    """IoU of one xyxy box f32[4] with others f32[K 4]."""
    extent = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    inside = extent.prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - inside
    return np.asarray(inside / np.maximum(union, 1e-12))
