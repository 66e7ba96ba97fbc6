"""Panoptic fusion: each pixel to the query that claims it most (Cheng et al. 2021, arXiv:2107.06278, sec. 3.4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphdet.records import Array, Panoptic
from graphdet.runtime.kernels import kernels


def fuse(
    queries: Mapping[str, Array], span: Array, size: tuple[int, int], *, classes: tuple[str, ...] = (),
    score: float = 0.8, overlap: float = 0.8,
) -> Panoptic:  # fmt: skip
    """Segments of one image of what its queries say; the kernel that engines run.

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
    operands = (queries[name] for name in ("scores", "labels", "things", "logits"))
    drawn, labels, things = kernels().fuse_segments(
        *operands, span=tuple(span.tolist()), height=size[0], width=size[1], score=score, overlap=overlap
    )
    return segments(drawn, labels, things, classes)


def segments(drawn: Array, labels: Array, things: Array, classes: tuple[str, ...]) -> Panoptic:
    """The record of a fused map, whose ids are places in `labels` and `things`, from 1."""
    ids, none = np.arange(1, len(labels) + 1), np.zeros(len(labels), np.bool_)
    return Panoptic(drawn, ids, labels, none, classes, things.astype(np.bool_))
