"""Masks in their image: equal to full-image grid sampling inside the boxes, and the same as bitmaps and as runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphdet.ops import paste_masks
from tests.runtime.devices import _C, module

pytestmark = pytest.mark.usefixtures("device")

Array = Any

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.sampled_from([1, 2, 7, 31, 64, 90])


def case(seed: int, n: int, k: int, height: int, width: int) -> tuple[Array, Array, Array]:
    """Masks, boxes inside, outside and across the image, some broken, and counts below and above k."""
    rng = np.random.default_rng(seed)
    masks = rng.random((n, k, *rng.integers(1, 9, 2)), dtype=np.float32)
    low = rng.uniform(-0.3, 1.1, (n, k, 2)) * (width, height)
    boxes = np.concatenate([low, low + rng.uniform(-0.1, 1.0, (n, k, 2)) * (width, height)], -1).astype(np.float32)
    whole = rng.random((n, k, 1)) < 0.2
    boxes = np.where(whole, np.round(boxes), boxes)
    boxes[rng.random(boxes.shape) < 0.02] = np.nan
    return masks, boxes, rng.integers(0, k + 2, n)


@settings(deadline=None)
@given(SEEDS, st.integers(0, 2), st.integers(0, 4), SIDES, SIDES, st.sampled_from([0.2, 0.5, 0.9]))
def test_paste_equals_its_reference(seed: int, n: int, k: int, height: int, width: int, threshold: float) -> None:
    operands = case(seed, n, k, height, width)
    how = {"height": height, "width": width, "threshold": threshold}
    found, expected = _C.paste_masks(*operands, **how), paste_masks.rules["reference"](*operands, **how)
    differ = found != expected
    assert differ.mean() < 1e-3 if differ.size else True  # values that touch the threshold within rounding


@given(SEEDS, st.integers(0, 2), st.integers(0, 4), SIDES, SIDES)
def test_runs_are_those_of_the_bitmaps(seed: int, n: int, k: int, height: int, width: int) -> None:
    operands = case(seed, n, k, height, width)
    bitmaps = _C.paste_masks(*operands, height=height, width=width)
    runs = _C.paste_runs(*operands, height=height, width=width)
    assert [len(image) for image in runs] == [k] * n
    for image, texts in zip(bitmaps, runs, strict=True):
        assert module("cpu").rle_encode(image) == texts


def test_equals_grid_sampling_of_the_whole_image() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    masks = rng.random((1, 12, 28, 28), dtype=np.float32)
    low = rng.uniform(-20, 150, (12, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 120, (12, 2))], 1).astype(np.float32)
    y, x = (torch.arange(size, dtype=torch.float32) + 0.5 for size in (160, 200))
    t = torch.from_numpy(boxes)
    across = (x[None] - t[:, :1]) / (t[:, 2:3] - t[:, :1]) * 2 - 1
    down = (y[None] - t[:, 1:2]) / (t[:, 3:] - t[:, 1:2]) * 2 - 1
    grid = torch.stack([across[:, None].expand(12, 160, 200), down[:, :, None].expand(12, 160, 200)], -1)
    sampled = torch.nn.functional.grid_sample(torch.from_numpy(masks[0])[:, None], grid, align_corners=False)[:, 0]
    found = _C.paste_masks(masks, boxes[None], np.asarray([12]), height=160, width=200)[0]
    assert (found != (sampled >= 0.5).numpy()).mean() < 1e-5


def test_nothing_is_painted_outside_or_for_nan() -> None:
    masks = np.ones((1, 3, 4, 4), np.float32)
    masks[0, 2] = np.nan
    boxes = np.asarray([[[2, 3, 6, 5], [0.6, 0, 1.4, 8], [0, 0, 8, 8]]], np.float32)
    found = _C.paste_masks(masks, boxes, np.asarray([3]), height=8, width=8, threshold=0.0)[0]
    expected = np.zeros((8, 8), np.uint8)
    expected[3:5, 2:6] = 1
    np.testing.assert_array_equal(found[0], expected)
    assert not found[1].any()  # no pixel centre between 0.6 and 1.4
    assert not found[2].any()


def test_schedule_does_not_change_results() -> None:
    operands = case(5, 2, 30, 64, 90)
    found = [_C.paste_masks(*operands, height=64, width=90) for _ in _C.schedules()]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


M, B, N = np.zeros((1, 2, 3, 3), np.float32), np.zeros((1, 2, 4), np.float32), np.zeros(1, np.int64)


@pytest.mark.parametrize("name", ["paste_masks", "paste_runs"])
@pytest.mark.parametrize(
    ("operands", "size", "words"),
    [
        ((M[0], B, N), (4, 4), r"masks is f32\[2 3 3\], expected f32\[N K h w\]"),
        ((M, B[:, :1], N), (4, 4), r"boxes is f32\[1 1 4\], expected f32\[N=1 K=2 4\]"),
        ((M, B, N[:0]), (4, 4), r"count is i64\[0\], expected i64\[N=1\]"),
        ((M[:, :, :0], B, N), (4, 4), "masks has no cells"),
        ((M, B, N), (-1, 4), "the image is -1 x 4"),
        ((M, B, N), (2**20, 2**20), "fewer than 2.32 pixels"),
    ],
)
def test_bad_input_says_what_was_found_and_expected(name: str, operands: Any, size: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(_C, name)(*operands, height=size[0], width=size[1])
