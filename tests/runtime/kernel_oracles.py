"""Slow, obvious NumPy forms of the native kernels: loops over images and entries, one rule a line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) in float32."""
    with np.errstate(over="ignore"):
        return (np.float32(1) / (np.float32(1) + np.exp(-x))).astype(np.float32)


def select_top(scores: Array, threshold: float, *, k: int) -> tuple[Array, Array, Array]:
    """Sort all entries of an image, drop what fails the threshold, keep k."""
    images, rows, classes = scores.shape
    room = min(k, rows * classes)
    top = np.full((images, room), -1, np.float32)
    labels, index = np.zeros((images, room), np.int64), np.zeros((images, room), np.int64)
    for n in range(images):
        flat = scores[n].ravel()
        passing = [i for i in range(flat.size) if flat[i] > np.float32(threshold)]
        best = sorted(passing, key=lambda i: (-flat[i], i))[:room]
        for place, i in enumerate(best):
            top[n, place], labels[n, place], index[n, place] = flat[i], i % classes, i // classes
    return top, labels, index


def gather_rows(x: Array, index: Array) -> Array:
    """Row by row."""
    out = np.zeros((*index.shape, x.shape[-1]), np.float32)
    for n, k in np.ndindex(*index.shape):
        out[n, k] = (x if x.ndim == 2 else x[n])[index[n, k]]
    return out


def decode_deltas(
    anchors: Array, deltas: Array, *, means: tuple[float, ...], stds: tuple[float, ...], max_ratio: float = 16 / 1000
) -> Array:
    """Girshick's centre and size deltas."""
    anchors = np.broadcast_to(anchors, deltas.shape)
    d = deltas * np.array(stds, np.float32) + np.array(means, np.float32)
    limit = abs(np.log(max_ratio))
    extent = anchors[..., 2:] - anchors[..., :2]
    centre = (anchors[..., 2:] + anchors[..., :2]) / 2 + extent * d[..., :2]
    half = extent * np.exp(np.clip(d[..., 2:], -limit, limit)) / 2
    return np.concatenate([centre - half, centre + half], axis=-1).astype(np.float32)


def decode_points(points: Array, raw: Array) -> Array:
    """YOLOX's grid cells."""
    points = np.broadcast_to(points, raw.shape)
    xy, stride = points[..., :2], points[..., 2:]
    centre, half = raw[..., :2] * stride + xy, np.exp(raw[..., 2:]) * stride / 2
    return np.concatenate([centre - half, centre + half], axis=-1).astype(np.float32)


def gather(x: Array, index: Array) -> Array:
    """Entry by entry."""
    out = np.zeros(index.shape, np.float32)
    for n, k in np.ndindex(*index.shape):
        out[n, k] = x[n, index[n, k]]
    return out


def decode_distances(points: Array, distances: Array) -> Array:
    """Left, top, right, bottom of FCOS's points."""
    x, y = points[..., 0], points[..., 1]
    left, top, right, bottom = np.moveaxis(distances, -1, 0)
    return np.stack([x - left, y - top, x + right, y + bottom], -1)


def clip_boxes(boxes: Array, size: Array) -> Array:
    """Each corner into [0, w] x [0, h]."""
    limits = size[:, None, [1, 0, 1, 0]]
    return np.minimum(np.maximum(boxes, np.float32(0)), limits)


def to_image(boxes: Array, geometry: Array) -> Array:
    """(xyxy - offset) / scale."""
    return (boxes - geometry[:, None, [2, 3, 2, 3]]) / geometry[:, None, [0, 1, 0, 1]]


def iou(a: Array, b: Array) -> np.float32:
    """Overlap of two boxes in float32; negative sizes count as 0, NaN boxes overlap nothing."""
    if np.isnan(a).any() or np.isnan(b).any():
        return np.float32(0)
    zero = np.float32(0)

    def area(x1: Any, y1: Any, x2: Any, y2: Any) -> Any:
        return max(x2 - x1, zero) * max(y2 - y1, zero)

    inter = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = area(*a) + area(*b) - inter
    return np.float32(inter / union) if union != 0 else np.float32(np.nan)


def nms(
    boxes: Array,
    scores: Array,
    labels: Array,
    score_threshold: float,
    iou_threshold: float,
    *,
    keep: int,
    agnostic: bool,
) -> tuple[Array, Array, Array, Array]:
    """Greedy, one candidate at a time against all kept ones."""
    images, rows = scores.shape
    room = rows if keep == 0 else min(keep, rows)
    out_boxes, out_scores = np.zeros((images, room, 4), np.float32), np.zeros((images, room), np.float32)
    out_labels, count = np.full((images, room), -1, np.int64), np.zeros(images, np.int64)
    for n in range(images):
        extent = (boxes[n, :, 2:] - boxes[n, :, :2]).min(-1)
        passing = [i for i in range(rows) if scores[n, i] > np.float32(score_threshold) and extent[i] > 0]
        kept: list[int] = []
        for i in sorted(passing, key=lambda i: (-scores[n, i], i)):
            rivals = [j for j in kept if agnostic or labels[n, j] == labels[n, i]]
            if not any(iou(boxes[n, j], boxes[n, i]) > np.float32(iou_threshold) for j in rivals):
                kept.append(i)
        kept = kept[:room]
        count[n] = len(kept)
        out_boxes[n, : len(kept)] = boxes[n, kept]
        out_scores[n, : len(kept)] = scores[n, kept]
        out_labels[n, : len(kept)] = labels[n, kept]
    return out_boxes, out_scores, out_labels, count
