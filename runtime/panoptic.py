"""Panoptic fusion: each pixel to the query that claims it most (Cheng et al. 2021, arXiv:2107.06278, sec. 3.4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphdet.records import Array, Panoptic


def fuse(
    queries: Mapping[str, Array], span: Array, size: tuple[int, int], *, classes: tuple[str, ...] = (),
    score: float = 0.8, overlap: float = 0.8,
) -> Panoptic:  # fmt: skip
    """Segments of one image of what its queries say.

    A pixel goes to the query of the largest score times mask probability, among those above `score`. A query whose
    pixels are fewer than `overlap` of those where its mask probability reaches one half gives no segment; of the
    others' pixels, those where it does. Queries of one class of stuff make one segment. Masks are interpolated once,
    bilinearly, from logits to the pixels of the image.

    Args:
        queries: scores f32[Q] in 0..1, labels i64[Q], things i64[Q] (1 for things, 0 for stuff), and logits f32[Q R C],
            grids of mask logits.
        span: f32[4], what a grid spans: xyxy in pixels of the image.
        size: (height, width) of the image.
        classes: names by label.
        score: queries up to it are left out.
        overlap: least part of its mask that a query must hold.

    Returns:
        Segments with ids 1, 2, ... in the order of queries.
    """
    scores, labels, things, logits = (queries[name] for name in ("scores", "labels", "things", "logits"))
    keep = np.flatnonzero(scores > score)
    best, owner = np.full(size, -1.0, np.float32), np.full(size, -1, np.int64)
    sure, claimed = np.zeros(size, np.bool_), np.zeros(len(keep), np.int64)
    rows, columns = (_cells(span[[a, a + 2]], n, k) for a, n, k in zip((1, 0), size, logits.shape[1:], strict=True))
    for k, query in enumerate(keep):
        logit = _along(_along(logits[query], rows).T, columns).T
        inside = logit >= 0
        with np.errstate(over="ignore"):
            claim = scores[query] / (1 + np.exp(-logit))
        better = claim > best
        best[better], owner[better], sure[better] = claim[better], k, inside[better]
        claimed[k] = np.count_nonzero(inside)
    held = np.bincount(owner[owner >= 0], minlength=len(keep))
    ids = np.zeros(len(keep) + 1, np.int32)
    found: dict[tuple[int, int], int] = {}
    for k in np.flatnonzero((held > 0) & (claimed > 0) & (held >= overlap * claimed)).tolist():
        label, thing = int(labels[keep[k]]), bool(things[keep[k]])
        if np.any(sure & (owner == k)):
            ids[k] = found.setdefault((label, k if thing else -1), len(found) + 1)
    drawn = np.where(sure, ids[owner], 0).astype(np.int32)  # an owner of -1 is the last entry, which stays void
    names = np.array([label for label, _ in found], np.int64)
    return Panoptic(drawn, np.arange(1, len(found) + 1), names, np.zeros(len(found), np.bool_), classes)


def _cells(ends: Array, pixels: int, cells: int) -> tuple[Array, Array, Array]:
    """The two cells between which each pixel centre lies along one axis, and the weight of the second; edges repeat."""
    centre = np.arange(pixels, dtype=np.float32) + np.float32(0.5)
    at = np.clip((centre - ends[0]) / (ends[1] - ends[0]) * cells - np.float32(0.5), 0, cells - 1).astype(np.float32)
    low = np.floor(at).astype(np.int64)
    return low, np.minimum(low + 1, cells - 1), at - low


def _along(grid: Array, cells: tuple[Array, Array, Array]) -> Array:
    low, high, weight = cells
    return np.asarray(grid[low] + (grid[high] - grid[low]) * weight[:, None])
