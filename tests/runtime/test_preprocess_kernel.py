"""The one-pass pre-processing kernel: bit for bit what OpenCV's resize and NumPy's arithmetic give."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.runtime.devices import _C

pytestmark = pytest.mark.usefixtures("device")

Array = Any

SIDES = st.one_of(st.integers(1, 8), st.integers(1, 200))
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PLAIN: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def run(image: Array, height: int, width: int, canvas: tuple[int, int] | None = None, **how: Any) -> Array:
    out = np.full((3, *(canvas or (height, width))), np.nan, np.float32)
    _C.preprocess(image, out, height=height, width=width, **{**PLAIN, **how})
    return out


def run_bf16(image: Array, height: int, width: int, canvas: tuple[int, int], **how: Any) -> Array:
    """The bits of bfloat16 as uint16."""
    out = np.full((3, *canvas), 0xFFFF, np.uint16)
    _C.preprocess(image, out, height=height, width=width, **{**PLAIN, **how})
    return out


def expected(image: Array, height: int, width: int) -> Array:
    """f32[3 height width] without normalisation."""
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    planes = np.repeat(resized[..., None], 3, 2) if resized.ndim == 2 else resized[..., :3]
    return planes.transpose(2, 0, 1).astype(np.float32)


@given(st.integers(0, 99), SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3, 4]))
@example(0, 100, 100, 50, 50, 3)
@example(0, 1, 1, 7, 9, 3)
@example(0, 64, 96, 64, 96, 3)
def test_resize_equals_opencv(seed: int, h: int, w: int, height: int, width: int, channels: int) -> None:
    image = noise(seed, h, w, channels) if channels > 1 else noise(seed, h, w)
    np.testing.assert_array_equal(run(image, height, width), expected(image, height, width))


@pytest.mark.parametrize(
    ("source", "target"), [((1080, 1920), (750, 1333)), ((480, 640), (800, 1067)), ((427, 640), (277, 416))]
)
def test_resize_of_photo_sizes_equals_opencv(source: tuple[int, int], target: tuple[int, int]) -> None:
    image = noise(0, *source, 3)
    np.testing.assert_array_equal(run(image, *target), expected(image, *target))


@given(st.integers(0, 99), SIDES, SIDES, st.booleans())
def test_normalise_order_and_pad(seed: int, h: int, w: int, reverse: bool) -> None:
    image = noise(seed, h, w, 3)
    found = run(image, 20, 30, (33, 37), mean=MEAN, std=STD, reverse=reverse, pad=-1.5)
    values = expected(image, 20, 30)[:: -1 if reverse else 1]
    mean, std = (np.asarray(x, np.float32)[:, None, None] for x in (MEAN, STD))
    wanted = np.full((3, 33, 37), -1.5, np.float32)
    wanted[:, :20, :30] = (values - mean) / std
    np.testing.assert_array_equal(found, wanted)


@given(st.integers(0, 99), SIDES, SIDES, st.booleans(), st.sampled_from([-1.5, 114.0, 3.4e38, float("inf"), 1e-39]))
def test_bfloat16_is_what_torch_makes_of_float32(seed: int, h: int, w: int, reverse: bool, pad: float) -> None:
    image = noise(seed, h, w, 3)
    how: dict[str, Any] = {"mean": MEAN, "std": STD, "reverse": reverse, "pad": pad}
    found = run_bf16(image, 20, 30, (33, 37), **how)
    wanted = torch.from_numpy(run(image, 20, 30, (33, 37), **how)).to(torch.bfloat16)
    np.testing.assert_array_equal(found, wanted.view(torch.int16).numpy().view(np.uint16))


def test_bfloat16_rounds_to_nearest_even() -> None:
    """Offsets put every pixel value just below, on and just above the middle of two numbers."""
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for mean in np.linspace(-260, 260, 77, dtype=np.float32):
        how: dict[str, Any] = {"mean": (float(mean),) * 3, "std": (2.0**-8, 1.0, 3.0)}
        wanted = torch.from_numpy(run(image, 16, 16, **how)).to(torch.bfloat16)
        found = run_bf16(image, 16, 16, (16, 16), **how)
        np.testing.assert_array_equal(found, wanted.view(torch.int16).numpy().view(np.uint16))


def test_bfloat16_keeps_what_is_no_number() -> None:
    found = run_bf16(noise(0, 4, 4, 3), 4, 4, (5, 6), mean=(np.nan, 0, 0), std=(1, 0, 1), pad=np.nan)
    values = torch.from_numpy(found.view(np.int16)).view(torch.bfloat16)
    assert values[0].isnan().all()
    assert values[1, :4, :4].isinf().any() or values[1, :4, :4].isnan().any()
    assert values[:, 4:].isnan().all()
    assert values[2, :4, :4].isfinite().all()


def test_any_strides_mean_the_same() -> None:
    big = noise(1, 90, 120, 4)
    views = (
        big[::2, ::3, :3],
        big[::-1, ::-1, :3],
        big[..., :3].transpose(1, 0, 2),
        big[5:50, 7:8, :3],
        big[..., 2::-1],
    )
    for view in (*views, big[..., 0], np.asfortranarray(big), np.broadcast_to(big[:1], (9, 120, 4)), big[:, :1, 0]):
        copied = np.ascontiguousarray(view).copy()
        np.testing.assert_array_equal(run(view, 31, 47), run(copied, 31, 47))


def test_schedule_does_not_change_results() -> None:
    image = noise(2, 300, 400, 3)
    for how in (run, run_bf16):
        found = [how(image, 211, 333, (224, 352), mean=MEAN, std=STD) for _ in _C.schedules()]
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: run(noise(0, 4, 4, 2), 4, 4), "has 2 channels, expected 1, 3 or 4"),
        (lambda: run(noise(0, 0, 4, 3), 4, 4), "the image is 0 x 4"),
        (lambda: run(noise(0, 4, 4, 3), 4, 4, (3, 4)), "the size is 4 x 4, expected at least 1 x 1 and at most 3 x 4"),
        (lambda: run(noise(0, 4, 4, 3).astype(np.float32), 4, 4), "image is no array of uint8"),
        (
            lambda: _C.preprocess(noise(0, 4, 4, 3), np.zeros((4, 4), np.float32), height=1, width=1, **PLAIN),
            "out is no writeable, contiguous array of 3 dimensions",
        ),
        (
            lambda: _C.preprocess(noise(0, 4, 4, 3), np.zeros((3, 4, 4), np.int16), height=1, width=1, **PLAIN),
            "out is no array of float32, nor of uint16",
        ),
    ],
)
def test_bad_input_says_what_was_found_and_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
