"""Run-length masks: equal to pycocotools, round trips, and texts that must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.devices import _C

pytestmark = pytest.mark.usefixtures("device")

Array = Any

SIDES = st.sampled_from([1, 2, 3, 5, 63, 64, 65, 130, 200])
SEEDS = st.integers(0, 2**32 - 1)


def random_masks(seed: int, count: int, height: int, width: int) -> Array:
    """Noise, blobs, empty and full masks: runs of every length."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, height, width), np.uint8)
    for mask in masks:
        kind = rng.integers(0, 5)
        if kind == 0:
            mask[...] = rng.random((height, width)) < rng.random()
        elif kind == 1:
            y, x = rng.integers(0, height), rng.integers(0, width)
            mask[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] = 1
        elif kind == 2:
            mask[...] = 1
        elif kind == 3:
            mask[...] = np.add.outer(np.arange(height), np.arange(width)) // 7 % 2
    return masks


def peer() -> Any:
    return pytest.importorskip("pycocotools.mask")


@given(SEEDS, st.integers(0, 4), SIDES, SIDES)
def test_encode_decode_and_area_equal_pycocotools(seed: int, count: int, height: int, width: int) -> None:
    masks = random_masks(seed, count, height, width)
    texts = _C.rle_encode(masks)
    expected = peer().encode(np.asfortranarray(masks.transpose(1, 2, 0)))
    assert texts == [e["counts"] for e in expected]
    assert np.array_equal(_C.rle_decode(texts, height=height, width=width), masks)
    areas = _C.rle_area(texts, height=height, width=width)
    assert areas.tolist() == masks.sum((1, 2)).tolist()


@given(SEEDS, SIDES, SIDES, st.booleans())
def test_iou_equals_pycocotools(seed: int, height: int, width: int, crowd: bool) -> None:
    a, b = random_masks(seed, 3, height, width), random_masks(seed + 1, 4, height, width)
    flags = [crowd, False, crowd, True]
    left, right = _C.rle_encode(a), _C.rle_encode(b)
    found = _C.rle_iou(left, right, height=height, width=width, crowd=flags)
    size = [height, width]
    expected = peer().iou(
        [{"size": size, "counts": c} for c in left], [{"size": size, "counts": c} for c in right], flags
    )
    assert np.allclose(found, expected, rtol=1e-12)


@given(SEEDS, SIDES, SIDES)
def test_layout_does_not_matter(seed: int, height: int, width: int) -> None:
    masks = random_masks(seed, 2, height, width)
    texts = _C.rle_encode(masks)
    columns = np.asfortranarray(masks.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert _C.rle_encode(columns) == texts
    padded = np.zeros((2, height + 3, 2 * width + 1), np.uint8)
    padded[:, 2:-1, 1::2] = masks
    assert _C.rle_encode(padded[:, 2:-1, 1::2]) == texts
    assert _C.rle_encode(masks * np.uint8(255)) == texts
    assert _C.rle_encode(masks.astype(bool)) == texts
    flipped = masks[:, ::-1]
    assert _C.rle_encode(flipped) == _C.rle_encode(flipped.copy())


def test_masks_without_pixels() -> None:
    assert _C.rle_encode(np.zeros((0, 4, 5), np.uint8)) == []
    for height, width in ((0, 4), (4, 0), (0, 0)):
        texts = _C.rle_encode(np.zeros((2, height, width), np.uint8))
        assert texts == [b"0", b"0"]
        assert _C.rle_decode(texts, height=height, width=width).shape == (2, height, width)
    assert _C.rle_iou([], [], height=3, width=3).shape == (0, 0)


def test_threads_do_not_change_results() -> None:
    masks = random_masks(7, 16, 130, 200)
    one = _C.rle_encode(masks)
    for _ in _C.schedules():
        assert _C.rle_encode(masks) == one
        np.testing.assert_array_equal(_C.rle_decode(one, height=130, width=200), masks)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "cover 0 pixels, the mask has 12"),
        (b"<", "cover 12 pixels, the mask has 13"),
        (b"P", "ends inside a number"),
        (b"\xff", "character 0"),
        (b"<!", "character 1"),
        (b"P" * 20, "too long"),
        (b"o", "ends inside a number"),
        (b"O", "run 0 has length -1"),
    ],
)
def test_bad_texts_are_refused(text: bytes, words: str) -> None:
    width = 13 if "13" in words else 12
    with pytest.raises(ValueError, match=f"rle_decode: mask 0: .*{words}"):
        _C.rle_decode([text], height=1, width=width)


@given(st.binary(max_size=40))
def test_any_text_is_decoded_or_refused(text: bytes) -> None:
    try:
        masks = _C.rle_decode([text], height=3, width=4)
    except ValueError:
        return
    assert _C.rle_area([text], height=3, width=4)[0] == masks.sum()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: _C.rle_encode(np.zeros((2, 2), np.uint8)), "masks has 2 dimensions, expected 3"),
        (lambda: _C.rle_encode(np.zeros((2, 2, 2), np.float32)), "masks is no array of uint8 or bool"),
        (lambda: _C.rle_decode([], height=-1, width=2), "the size is -1 x 2"),
        (lambda: _C.rle_decode([], height=2**31, width=2**31), "expected 0 to"),
        (lambda: _C.rle_iou([b"4"], [b"4"], height=2, width=2, crowd=[True, True]), "found 2 crowd flags for 1 masks"),
    ],
)
def test_bad_input_says_what_was_found_and_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
