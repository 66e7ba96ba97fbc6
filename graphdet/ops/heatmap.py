"""Objects as peaks of heatmaps (Law and Deng 2018, CornerNet; Zhou et al. 2019, CenterNet). Train-only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphdet.ir.graph import Value
from graphdet.ir.op import FP32, TRAIN, Positive, op
from graphdet.ops.assign import TRUTH, random_truth
from graphdet.ops.math import Example, stable_sigmoid


@op(f"f[N C H W], {TRUTH} -> f[N classes H W], f[N 4 H W], b[N H W]", TRAIN, FP32)
def draw_centres(
    level: Value, boxes: Value, labels: Value, count: Value,
    *, classes: Positive, stride: Positive, overlap: float = 0.3,
) -> tuple[Value, Value, Value]:  # fmt: skip
    """Heatmaps of box centres, what to learn at centres, and which cells hold one (Zhou et al. 2019, sec. 3).

    A centre is 1 in its cell of its class, around it a Gaussian of radius r (deviation (2r + 1) / 6, 0 beyond r): the
    largest distance at which a box of this size still overlaps by `overlap` (Law and Deng 2018, sec. 3.2). Gaussians of
    a class join by their maximum. In the cell stand width and height in cells and the centre's place in the cell (x,
    y); a later object wins. Centres outside of the map are left out.
    """
    ...


def _radius(lib: Any, width: Any, height: Any, overlap: float) -> Any:
    """The least of three cases: both corners inside the true box, both outside, one of each."""
    total, area = width + height, width * height
    within = (total - lib.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    inside = (2 * total - lib.sqrt(4 * total**2 - 16 * (1 - overlap) * area)) / 8
    outside = (-2 * overlap * total + lib.sqrt(4 * overlap**2 * total**2 + 16 * overlap * (1 - overlap) * area)) / (
        8 * overlap
    )
    return lib.floor(lib.minimum(lib.minimum(within, inside), outside))


@draw_centres.reference
def _(level: Any, boxes: Any, labels: Any, count: Any, *, classes: int, stride: int, overlap: float) -> Any:
    n, _, h, w = level.shape
    heat, wanted, mask = np.zeros((n, classes, h, w)), np.zeros((n, 4, h, w)), np.zeros((n, h, w), bool)
    y, x = np.mgrid[0:h, 0:w]
    for i in range(n):
        for box, label in zip(boxes[i, : count[i]] / np.float32(stride), labels[i], strict=False):
            centre, (width, height) = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            column, row = np.floor(centre).astype(int)
            if not (0 <= column < w and 0 <= row < h):
                continue
            r = max(0.0, float(_radius(np, width, height, overlap)))
            near = (abs(x - column) <= r) & (abs(y - row) <= r)
            bell = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * ((2 * r + 1) / 6) ** 2))
            heat[i, label] = np.maximum(heat[i, label], np.where(near, bell, 0))
            wanted[i, :, row, column] = width, height, *(centre - (column, row))
            mask[i, row, column] = True
    return heat.astype(np.float32), wanted.astype(np.float32), mask


@draw_centres.torch
def _(t: Any, level: Any, boxes: Any, labels: Any, count: Any, *, classes: int, stride: int, overlap: float) -> Any:
    (n, _, h, w), device = level.shape, boxes.device
    with t.no_grad():
        heat, wanted = boxes.new_zeros((n, classes, h, w)), boxes.new_zeros((n, 4, h, w))
        mask = t.zeros((n, h, w), dtype=t.bool, device=device)
        y, x = t.arange(h, device=device)[:, None], t.arange(w, device=device)
        for i in range(n):
            cells = boxes[i, : count[i]] / stride
            centre, extent = (cells[:, :2] + cells[:, 2:]) / 2, cells[:, 2:] - cells[:, :2]
            place = centre.floor().long()
            real = ((place >= 0) & (place < place.new_tensor([w, h]))).all(1)
            centre, extent, place, names = centre[real], extent[real], place[real], labels[i, : count[i]][real]
            r = _radius(t, extent[:, 0], extent[:, 1], overlap).clamp(min=0)[:, None, None]
            right, down = x - place[:, 0, None, None], y - place[:, 1, None, None]
            bell = (-(right**2 + down**2) / (2 * ((2 * r + 1) / 6) ** 2)).exp()
            bell = t.where((right.abs() <= r) & (down.abs() <= r), bell, 0.0)
            heat[i].scatter_reduce_(0, names[:, None, None].expand_as(bell), bell, "amax")
            for j, (column, row) in enumerate(place.tolist()):  # in order: a later object wins
                wanted[i, :, row, column] = t.cat([extent[j], centre[j] - place[j]])
                mask[i, row, column] = True
        return heat, wanted, mask


@draw_centres.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    for counts in ((5, 2), (0, 3)):
        yield ((2, 1, 24, 20), *random_truth(rng, 2, 5, 3, counts)), {"classes": 3, "stride": 4}
    yield ((2, 1, 6, 5), *random_truth(rng, 2, 0, 3, (0, 0))), {"classes": 3, "stride": 4}


@op("logits[*S], f[*S] -> f[*S]", TRAIN, FP32)
def peak_focal_loss(logits: Value, heat: Value, *, alpha: float = 2.0, beta: float = 4.0) -> Value:
    """Focal loss around peaks (Law and Deng 2018, eq. 1), elementwise, with p = sigmoid(logits).

    -(1 - p)^alpha log p at a peak (heat of 1), else -(1 - heat)^beta p^alpha log(1 - p).
    """
    ...


@peak_focal_loss.reference
def _(logits: Any, heat: Any, *, alpha: float, beta: float) -> Any:
    p = stable_sigmoid(logits)
    soft = np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))  # -log(1 - p)
    return np.where(heat >= 1, (1 - p) ** alpha * (soft - logits), (1 - heat) ** beta * p**alpha * soft)


@peak_focal_loss.torch
def _(t: Any, logits: Any, heat: Any, *, alpha: float, beta: float) -> Any:
    p, soft = logits.sigmoid(), t.nn.functional.softplus(logits)
    return t.where(heat >= 1, (1 - p) ** alpha * (soft - logits), (1 - heat) ** beta * p**alpha * soft)


@peak_focal_loss.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4), np.where(rng.random((2, 3, 4)) > 0.8, 1, rng.random((2, 3, 4)) * 0.9).astype(np.float32)), {}
