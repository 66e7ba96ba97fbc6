"""Losses of boxes by their overlap, against the papers' formulae in float64, one pair of boxes after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from graphdet.compiler.backends.torch import to_module
from graphdet.ir import Dim, Value, tracing
from graphdet.ir.trace import graph_input
from graphdet.ir.types import boxes as boxes_type
from graphdet.records import Array
from graphdet.zoo.parts import overlap

torch = pytest.importorskip("torch")

Corners = tuple[float, ...]


def iou(a: Corners, b: Corners) -> float:
    """Area of both over area of either."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def centre(a: Corners) -> tuple[float, float]:
    return (a[0] + a[2]) / 2, (a[1] + a[3]) / 2


def complete(a: Corners, b: Corners) -> float:
    """1 - IoU + rho^2 / c^2 + alpha v, alpha = v / (1 - IoU + v) of boxes that fit by more than half, else 0."""
    diagonal = math.dist((min(a[0], b[0]), min(a[1], b[1])), (max(a[2], b[2]), max(a[3], b[3])))
    angles = [math.atan((x[2] - x[0]) / (x[3] - x[1])) for x in (a, b)]
    v, share = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2, iou(a, b)
    alpha = v / (1 - share + v) if share > 0.5 and v else 0.0
    return 1 - share + math.dist(centre(a), centre(b)) ** 2 / diagonal**2 + alpha * v


def bounded(a: Corners, b: Corners) -> float:
    """Smooth L1 (beta 0.2) of 1 - the largest IoU that each of x, y, w, h allows, the other three as they should be."""

    def smooth(x: float) -> float:
        return 0.5 * x * x / 0.2 if x < 0.2 else x - 0.1

    total = 0.0
    for k in range(2):
        apart, side, wanted = abs(centre(a)[k] - centre(b)[k]), a[k + 2] - a[k], b[k + 2] - b[k]
        total += smooth(1 - max((wanted - 2 * apart) / (wanted + 2 * apart), 0.0))
        total += smooth(1 - min(wanted / side, side / wanted))
    return total


def pairs() -> tuple[Array, Array]:
    """Boxes and targets from nearly equal to far apart."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (600, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 40, (600, 2))], 1)
    moved = boxes + rng.normal(0, 1, boxes.shape) * rng.choice([0.1, 2.0, 20.0], (600, 1))
    low = np.minimum(moved[:, :2], moved[:, 2:])
    return boxes.astype(np.float32), np.concatenate([low, low + np.abs(moved[:, 2:] - moved[:, :2]) + 2], 1).astype(
        "f4"
    )


def run(loss: Callable[[Value, Value], Value], boxes: Array, target: Array) -> tuple[Array, Array]:
    """A loss a pair, and its gradient by the boxes."""
    with tracing("loss", "train") as opened:
        given = [graph_input(name, boxes_type("net", Dim.symbol("N"), 4)) for name in ("boxes", "target")]
        graph = opened.graph({"loss": loss(*given)})
    x = torch.from_numpy(boxes).requires_grad_()
    found = to_module(graph)(boxes=x, target=torch.from_numpy(target))["loss"]
    (gradient,) = torch.autograd.grad(found.sum(), x)
    return found.detach().numpy(), gradient.numpy()


LOSSES = [(overlap.ciou_loss, complete), (overlap.bounded_iou, bounded)]


@pytest.mark.parametrize(("loss", "formula"), LOSSES, ids=["ciou", "bounded"])
def test_formula(loss: Callable[[Value, Value], Value], formula: Callable[[Corners, Corners], float]) -> None:
    boxes, target = pairs()
    found, gradient = run(loss, boxes, target)
    rows = [(tuple(map(float, a)), tuple(map(float, b))) for a, b in zip(boxes, target, strict=True)]
    np.testing.assert_allclose(found, [formula(a, b) for a, b in rows], rtol=2e-3, atol=1e-4)  # eps of 1e-3 in sides
    assert np.isfinite(gradient).all()
    same, flat = run(loss, boxes, boxes)
    np.testing.assert_allclose(same, 0, atol=1e-4)
    assert np.isfinite(flat).all()


# What torchvision 0.28.0 says of six pairs of boxes in float64, and its gradient by the first box: of
# ops.generalized_box_iou_loss, distance_box_iou_loss, complete_box_iou_loss. Its CIoU weighs shapes whatever the IoU;
# the paper's, as ours, does so from 0.5: the first three pairs.
PAIRS = (
    ((10, 12, 40, 60), (12, 10, 44, 58)),
    ((0, 0, 20, 10), (2, 1, 20, 11)),
    ((5, 5, 9, 30), (6, 2, 10, 33)),
    ((10, 10, 30, 30), (30, 10, 50, 30)),
    ((3, 4, 50, 44), (60, 60, 70, 90)),
    ((100, 80, 140, 120), (104, 70, 131, 133)),
)
TORCHVISION = {
    "giou": ((0.244026, 0.265972, 0.535354, 1.0, 1.621659, 0.632383), (-0.022666, 0.016860, -0.027524, 0.015773)),
    "diou": ((0.240523, 0.260720, 0.497658, 1.2, 1.343563, 0.515259), (-0.022452, 0.016231, -0.027168, 0.014011)),
    "ciou": ((0.240523, 0.260722, 0.497659), (-0.022452, 0.016230, -0.027168, 0.014011)),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_says_the_same(name: str) -> None:
    expected, slope = TORCHVISION[name]
    boxes, target = np.asarray(PAIRS, np.float32).transpose(1, 0, 2).copy()
    found, gradient = run(getattr(overlap, f"{name}_loss"), boxes, target)
    np.testing.assert_allclose(found[: len(expected)], expected, atol=2e-6)
    np.testing.assert_allclose(gradient[0], slope, atol=2e-6)
