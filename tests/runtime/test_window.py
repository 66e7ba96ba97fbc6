"""CARAFE, corner pooling, masked convolution, RoIPool's gradient and focal loss: kernels against autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphdet.ops import carafe, corner_pool, focal_loss, masked_conv2d, roi_pool
from tests.runtime.devices import _C

pytestmark = pytest.mark.usefixtures("device")
Array = Any
SEEDS = st.integers(0, 2**32 - 1)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def check(op: Any, operands: list[Array], free: int, backward: Callable[[Array], Any], **how: Any) -> None:
    """The kernel forwards, and backwards for the first `free` operands, against the PyTorch form in float64."""
    torch = pytest.importorskip("torch")
    given = [torch.from_numpy(x) for x in operands]
    leaves = [x.double().requires_grad_() if i < free else x for i, x in enumerate(given)]
    out = op.rules["torch"](torch, *leaves, **how)
    found = getattr(_C, op.name)(*operands, **how)
    np.testing.assert_allclose(found, out.detach().numpy(), rtol=1e-4, atol=1e-5)
    gradient = floats(np.random.default_rng(0), *out.shape)
    (out * torch.from_numpy(gradient)).sum().backward()
    results = backward(gradient)
    for mine, leaf in zip(results if isinstance(results, tuple) else (results,), leaves[:free], strict=True):
        np.testing.assert_allclose(mine, leaf.grad.numpy(), rtol=1e-4, atol=2e-5)


SIZES = st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7))


@settings(deadline=None, max_examples=30)
@given(SEEDS, SIZES, st.sampled_from([(1, 1), (4, 2), (20, 1), (34, 2)]), st.sampled_from([1, 3, 5]), st.integers(1, 3))
def test_carafe(seed: int, sizes: tuple[int, int, int], channels: tuple[int, int], size: int, scale: int) -> None:
    rng = np.random.default_rng(seed)
    n, h, w = sizes
    c, groups = channels
    x, kernels = floats(rng, n, c, h, w), floats(rng, n, groups * size * size, h * scale, w * scale)
    how = {"size": size, "groups": groups, "scale": scale}
    check(carafe, [x, kernels], 2, lambda g: _C.carafe_backward(g, x, kernels, **how), **how)


@settings(deadline=None, max_examples=30)
@given(SEEDS, SIZES, st.sampled_from(["top", "bottom", "left", "right"]))
def test_corner_pool(seed: int, sizes: tuple[int, int, int], side: str) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(floats(rng, sizes[0], 3, *sizes[1:]) * 2)  # coarse values: there are ties
    check(corner_pool, [x], 1, lambda g: _C.corner_pool_backward(g, x, side=side), side=side)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_corner_pool_spreads_nan(side: str) -> None:
    x = np.zeros((1, 1, 4, 5), np.float32)
    x[0, 0, 2, 1] = np.nan
    np.testing.assert_array_equal(_C.corner_pool(x, side=side), corner_pool.rules["reference"](x, side=side))


@settings(deadline=None, max_examples=30)
@given(SEEDS, SIZES, st.sampled_from([1, 3, 18]), st.integers(1, 2), st.booleans())
def test_masked_conv(seed: int, sizes: tuple[int, int, int], filters: int, stride: int, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    n, h, w = sizes
    x, weight = floats(rng, n, 5, h, w), floats(rng, filters, 5, 3, 3)
    mask = floats(rng, n, (h - 1) // stride + 1, (w - 1) // stride + 1)
    mask[0, 0, 0] = np.nan
    bias = floats(rng, filters) if biased else None
    how = {"stride": stride, "padding": 1}
    expected = masked_conv2d.rules["reference"](x, weight, mask, bias, **how)
    np.testing.assert_allclose(_C.masked_conv2d(x, weight, mask, bias, **how), expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(1, 2), st.sampled_from([0, 1, 9]))
def test_roi_pool_gradient(seed: int, n: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.permutation(n * 3 * 9 * 7).astype(np.float32).reshape(n, 3, 9, 7)  # no ties
    low = rng.uniform(-10, 40, (count, 2))
    boxes = np.concatenate([rng.integers(0, n, (count, 1)), low, low + rng.uniform(-4, 30, (count, 2))], 1)
    rois = boxes.astype(np.float32)
    rois[:1] = [0, 4, 4, 20, 20]
    rois[1::4, 3] = np.nan
    how: dict[str, Any] = {"size": (3, 2), "scale": 0.25}
    if count:
        check(roi_pool, [features, rois], 1, lambda g: _C.roi_pool_backward(g, features, rois, **how), **how)
    else:
        empty = np.zeros((0, 3, 3, 2), np.float32)
        assert not _C.roi_pool_backward(empty, features, rois, **how).any()


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([1, 3, 16, 80]), st.sampled_from([0.0, 1.5, 2.0]), st.sampled_from([0.25, 0.5]))
def test_focal_loss(seed: int, classes: int, gamma: float, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = floats(rng, 2, 7, classes) * 8, rng.integers(-1, classes + 1, (2, 7))
    how = {"alpha": alpha, "gamma": gamma}
    check(focal_loss, [logits, labels], 1, lambda g: _C.focal_loss_backward(g, logits, labels, **how), **how)


def test_focal_loss_at_the_ends_of_the_numbers() -> None:
    ends = np.asarray([-np.inf, -3e38, -200, -88, 0, 88, 200, 3e38, np.inf, np.nan], np.float32)
    logits = np.repeat(ends, 2).reshape(1, -1, 1)
    labels = np.tile([0, 1], 10)[None]
    loss = _C.focal_loss(logits, labels)[0]
    slope = _C.focal_loss_backward(np.ones_like(loss)[None], logits, labels)[0, :, 0]
    assert np.isnan(loss[-2:]).all()
    assert np.isnan(slope[-2:]).all()
    assert np.isfinite(loss[:-2]).all()
    assert np.isfinite(slope[:-2]).all()
    assert loss[3] == loss[1] == 0  # surely right: background, far below
    np.testing.assert_allclose(loss[[4, 6]], [50, 22], rtol=1e-6)  # 0.25 * 200, 0.25 * 88
    assert _C.focal_loss(logits, np.full_like(labels, -1)).tolist() == [[0.0] * 20]


def test_schedule_does_not_change_results() -> None:
    rng = np.random.default_rng(4)
    x, kernels, small = floats(rng, 2, 40, 12, 13), floats(rng, 2, 18, 24, 26), floats(rng, 2, 40, 24, 26)
    mask, weight = floats(rng, 2, 12, 13), floats(rng, 20, 40, 3, 3)
    logits, labels = floats(rng, 2, 90, 80), rng.integers(-1, 81, (2, 90))
    rois = np.concatenate([rng.integers(0, 2, (30, 1)), np.sort(rng.uniform(0, 50, (30, 4)), 1)], 1).astype(np.float32)
    how: dict[str, Any] = {"size": (3, 3), "scale": 0.25}
    bins = floats(rng, 30, 40, 3, 3)
    found = []
    for _ in _C.schedules():
        found.append([
            _C.carafe(x, kernels, size=3, groups=2), *_C.carafe_backward(small, x, kernels, size=3, groups=2),
            _C.corner_pool(x, side="top"), _C.corner_pool_backward(x, x, side="left"),
            _C.masked_conv2d(x, weight, mask, padding=1), _C.focal_loss(logits, labels),
            _C.focal_loss_backward(floats(np.random.default_rng(0), 2, 90), logits, labels),
            _C.roi_pool_backward(bins, x, rois, **how),
        ])  # fmt: skip
    for others in found[1:]:
        for mine, first in zip(others[:-1], found[0][:-1], strict=True):
            np.testing.assert_array_equal(mine, first)
        slack = 0.0 if _C.device == "cpu" else 1e-5  # on a GPU, bins add to the last one in any order
        np.testing.assert_allclose(others[-1], found[0][-1], rtol=slack, atol=slack)


@pytest.mark.parametrize("empty", [(0, 3, 4, 4), (1, 3, 0, 4), (1, 3, 4, 0)])
def test_maps_without_pixels(empty: tuple[int, int, int, int]) -> None:
    n, c, h, w = empty
    x = np.zeros(empty, np.float32)
    assert _C.carafe(x, np.zeros((n, 9, 2 * h, 2 * w), np.float32), size=3).shape == (n, c, 2 * h, 2 * w)
    assert _C.corner_pool(x, side="right").shape == empty
    assert _C.corner_pool_backward(x, x, side="right").shape == empty
    out = _C.masked_conv2d(x, np.ones((2, 3, 1, 1), np.float32), np.ones((n, h + 2, w + 2), np.float32), padding=1)
    assert out.shape == (n, 2, h + 2, w + 2)
    assert _C.focal_loss(np.zeros((n, 0, 4), np.float32), np.zeros((n, 0), np.int64)).shape == (n, 0)


X = np.zeros((1, 4, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: _C.carafe(X, np.zeros((1, 16, 8, 8), np.float32), size=4), "size 4, scale 2, groups 1 do not fit"),
        (lambda: _C.carafe(X, X), r"kernels is f32\[1 4 4 4\], expected f32\[N=1 25 P=8 Q=8\]"),
        (lambda: _C.carafe(X, X, groups=3), "groups 3 do not fit 4 channels"),
        (lambda: _C.corner_pool(X, side="middle"), "side is 'middle', expected top, bottom, left or right"),
        (lambda: _C.corner_pool_backward(X[:, :1], X, side="top"), r"gradient is f32\[1 1 4 4\]"),
        (lambda: _C.masked_conv2d(X, X, X[0]), r"mask is f32\[4 4 4\], expected f32\[N=1 P=1 Q=1\]"),
        (lambda: _C.masked_conv2d(X, X, X[:, 0], stride=0), "stride is 0"),
        (lambda: _C.focal_loss(X[0], np.zeros((4, 3), int)), r"labels is i64\[4 3\], expected i64\[N=4 A=4\]"),
        (lambda: _C.focal_loss(X[0], np.zeros((4, 4), int), gamma=-1), "gamma is -1"),
        (
            lambda: _C.roi_pool_backward(X, X, np.zeros((1, 5), np.float32), size=(2, 2), scale=1.0),
            r"gradient is f32\[1 4 4 4\], expected f32\[R=1 C=4 2 2\]",
        ),
    ],
)
def test_bad_input_says_what_was_found_and_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_training_uses_the_kernels() -> None:
    torch = pytest.importorskip("torch")
    from graphdet.compiler.backends.torch.kernels import RULES

    rng = np.random.default_rng(9)
    logits, labels = torch.from_numpy(floats(rng, 2, 5, 4)), torch.from_numpy(rng.integers(-1, 5, (2, 5)))
    found = []
    for rule in (RULES["focal_loss"], focal_loss.rules["torch"]):
        leaf = logits.clone().requires_grad_()
        out = rule(torch, leaf, labels, alpha=0.25, gamma=2.0)
        out.sum().backward()
        found.append((out.detach(), leaf.grad))
    assert "_Native" in type(RULES["focal_loss"](torch, leaf, labels, alpha=0.25, gamma=2.0).grad_fn).__name__
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
