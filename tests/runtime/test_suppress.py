"""Soft, matrix and fast NMS, and pairwise overlap: against their references on crowded, tied and broken boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphdet.ops import fast_nms, matrix_nms, pairwise_iou, soft_nms
from tests.runtime.devices import _C

pytestmark = pytest.mark.usefixtures("device")

Array = Any

SEEDS = st.integers(0, 2**32 - 1)
ROWS = st.sampled_from([0, 1, 2, 9, 40])
DECAY = st.sampled_from(["linear", "gaussian"])


def scene(seed: int, n: int, k: int) -> tuple[Array, Array, Array]:
    """Boxes on a coarse grid, equal scores, NaN among both, three labels far apart."""
    rng = np.random.default_rng(seed)
    corner, extent = rng.integers(0, 6, (n, k, 2)), rng.integers(-1, 6, (n, k, 2))
    boxes = np.concatenate([corner, corner + extent], -1).astype(np.float32)
    boxes[rng.random(boxes.shape) < 0.01] = np.nan
    scores = np.round(rng.random((n, k), dtype=np.float32) * 16) / np.float32(16)
    scores[rng.random((n, k)) < 0.05] = np.nan
    return boxes, scores, rng.integers(-1, 2, (n, k)) * 10**12


def check(name: str, rule: Any, operands: Any, how: dict[str, Any]) -> None:
    with np.errstate(all="ignore"):
        expected = rule(*operands, **how)
    found = getattr(_C, name)(*operands, **how)
    np.testing.assert_array_equal(found[3], expected[3])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)
    np.testing.assert_array_equal(found[2], expected[2])
    np.testing.assert_array_equal(found[0], expected[0])


@settings(deadline=None)
@given(SEEDS, st.integers(0, 2), ROWS, st.sampled_from([0, 1, 5]), st.booleans(), st.sampled_from([0.0, 0.3, 0.7]))
def test_fast_nms(seed: int, n: int, k: int, keep: int, agnostic: bool, iou: float) -> None:
    operands = (*scene(seed, n, k), np.float32(0.2), np.float32(iou))
    check("fast_nms", fast_nms.rules["reference"], operands, {"keep": keep, "agnostic": agnostic})


@settings(deadline=None)
@given(SEEDS, st.integers(0, 2), ROWS, st.sampled_from([0, 1, 5]), st.booleans())
def test_linear_soft_nms(seed: int, n: int, k: int, keep: int, agnostic: bool) -> None:
    operands = (*scene(seed, n, k), np.float32(0.2), np.float32(0.3))
    how = {"keep": keep, "agnostic": agnostic, "decay": "linear", "sigma": 0.5}
    check("soft_nms", soft_nms.rules["reference"], operands, how)


@settings(deadline=None)
@given(SEEDS, st.integers(0, 2), ROWS, st.booleans(), DECAY)
def test_new_scores_of_soft_and_matrix_nms(seed: int, n: int, k: int, agnostic: bool, decay: str) -> None:
    """Exponentials differ in the last bit, which may swap near ties: sorted scores are compared."""
    made = (*scene(seed, n, k), np.float32(0.01))
    for name, rule, operands in (
        ("soft_nms", soft_nms, (*made, np.float32(0.3))),
        ("matrix_nms", matrix_nms, made),
    ):
        how = {"keep": 0, "agnostic": agnostic, "decay": decay, "sigma": 0.7}
        with np.errstate(all="ignore"):
            expected = rule.rules["reference"](*operands, **how)
        found = getattr(_C, name)(*operands, **how)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-6)
        assert (np.diff(found[1], axis=1) <= 0).all()


def test_soft_nms_of_two_boxes_by_hand() -> None:
    boxes = np.asarray([[[0, 0, 10, 10], [0, 0, 10, 5]]], np.float32)
    scores, labels = np.asarray([[0.9, 0.8]], np.float32), np.zeros((1, 2), np.int64)
    linear = _C.soft_nms(boxes, scores, labels, 0.0, 0.3, keep=0, agnostic=False)
    assert linear[1][0].tolist() == pytest.approx([0.9, 0.4])
    gaussian = _C.soft_nms(boxes, scores, labels, 0.0, 0.3, keep=0, decay="gaussian", sigma=0.5)
    assert gaussian[1][0].tolist() == pytest.approx([0.9, 0.8 * np.exp(-0.5)])
    apart = _C.soft_nms(boxes, scores, np.asarray([[0, 1]]), 0.0, 0.3)
    assert apart[1][0].tolist() == pytest.approx([0.9, 0.8])
    assert _C.soft_nms(boxes, scores, labels, 0.5, 0.3)[3].tolist() == [1]


@settings(deadline=None)
@given(SEEDS, st.integers(0, 2), ROWS, ROWS, st.booleans())
def test_pairwise_iou(seed: int, n: int, a: int, b: int, generalised: bool) -> None:
    left, right = scene(seed, n, a)[0], scene(seed + 1, n, b)[0]
    with np.errstate(all="ignore"):
        expected = pairwise_iou.rules["reference"](left, right, generalised=generalised)
    found = _C.pairwise_iou(left, right, generalised=generalised)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert not np.isnan(found).any()


def test_schedule_does_not_change_results() -> None:
    made = scene(7, 5, 60)
    found = []
    for _ in _C.schedules():
        found.append(
            [
                *_C.soft_nms(*made, 0.1, 0.3, decay="gaussian"),
                *_C.matrix_nms(*made, 0.1),
                *_C.fast_nms(*made, 0.1, 0.5),
                *_C.nms(*made, 0.1, 0.5, keep=0, agnostic=False),
                _C.pairwise_iou(made[0], made[0]),
                *_C.select_top(made[1][..., None].copy(), 0.1, k=20),
            ]
        )
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(other, one)


BOXES, SCORES, LABELS = np.zeros((1, 2, 4), np.float32), np.zeros((1, 2), np.float32), np.zeros((1, 2), np.int64)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: _C.soft_nms(SCORES, SCORES, LABELS, 0, 0), r"soft_nms: boxes is f32\[1 2\], expected f32\[N K 4\]"),
        (lambda: _C.soft_nms(BOXES, SCORES, LABELS, 0, 0, sigma=0), "soft_nms: sigma is 0"),
        (lambda: _C.soft_nms(BOXES, SCORES, LABELS, 0, 0, decay="x"), "soft_nms: decay is 'x', expected 'linear' or"),
        (lambda: _C.matrix_nms(BOXES, SCORES, LABELS, 0, sigma=-1), "matrix_nms: sigma is -1"),
        (lambda: _C.matrix_nms(BOXES, SCORES, SCORES, 0), r"labels is f32\[1 2\], expected i64\[N=1 K=2\]"),
        (lambda: _C.fast_nms(BOXES, SCORES, LABELS, 0, 0, keep=-1), "fast_nms: keep is -1"),
        (lambda: _C.pairwise_iou(BOXES, BOXES[:0]), r"b is f32\[0 2 4\], expected f32\[N=1 B 4\]"),
    ],
)
def test_bad_input_says_what_was_found_and_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
