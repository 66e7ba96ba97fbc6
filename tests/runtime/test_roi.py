"""RoIAlign and RoIPool kernels: gradients, pyramids, both ways of reading a map, and inputs that must be refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphdet.compiler.backends.numpy.execute import op_graph
from graphdet.ops import roi_align, roi_align_levels, roi_pool
from tests.runtime.devices import _C

pytestmark = pytest.mark.usefixtures("device")

Array = Any

SEEDS = st.integers(0, 2**32 - 1)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def rois(rng: np.random.Generator, count: int, images: int, extent: float) -> Array:
    """Corners inside, outside and across the map; some RoIs of no or negative size."""
    low = rng.uniform(-0.3 * extent, 1.2 * extent, (count, 2))
    size = rng.uniform(-0.1 * extent, 0.8 * extent, (count, 2))
    return np.concatenate([rng.integers(0, max(images, 1), (count, 1)), low, low + size], 1).astype(np.float32)


@settings(deadline=None)
@given(
    SEEDS,
    st.integers(1, 2),
    st.sampled_from([1, 3, 16, 17]),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([0, 5, 40]),
)
def test_roi_align_equals_its_reference(seed: int, n: int, c: int, samples: int, aligned: bool, count: int) -> None:
    rng = np.random.default_rng(seed)
    features, boxes = floats(rng, n, c, *rng.integers(1, 14, 2)), rois(rng, count, n, 40)
    how: dict[str, Any] = {"size": (3, 2), "scale": 0.25, "samples": samples, "aligned": aligned}
    expected = roi_align.rules["reference"](features, boxes, **how)
    np.testing.assert_allclose(_C.roi_align(features, boxes, **how), expected, rtol=1e-4, atol=2e-5)


@settings(deadline=None)
@given(SEEDS, st.sampled_from([1, 16, 20]), st.integers(0, 2), st.booleans())
def test_gradient_equals_autograd(seed: int, c: int, samples: int, aligned: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    features, boxes = floats(rng, 2, c, 9, 7), rois(rng, 6, 2, 30)
    how: dict[str, Any] = {"size": (2, 3), "scale": 0.25, "samples": samples, "aligned": aligned}
    leaf = torch.from_numpy(features).requires_grad_()
    out = roi_align.rules["torch"](torch, leaf, torch.from_numpy(boxes), **how)
    weights = floats(rng, *out.shape)
    (out * torch.from_numpy(weights)).sum().backward()
    found = _C.roi_align_backward(weights, boxes, map=(2, 9, 7), **how)
    np.testing.assert_allclose(found, leaf.grad.numpy(), rtol=1e-4, atol=2e-5)


def test_module_uses_the_kernel_with_its_gradient() -> None:
    torch = pytest.importorskip("torch")
    from graphdet.compiler.backends.torch.kernels import RULES

    fast = RULES["roi_align"]

    rng = np.random.default_rng(0)
    boxes = torch.from_numpy(rois(rng, 6, 2, 30))
    how: dict[str, Any] = {"size": (2, 2), "scale": 0.25, "samples": 0, "aligned": True}
    grads = []
    for rule in (roi_align.rules["torch"], fast):
        leaf = torch.from_numpy(floats(np.random.default_rng(1), 2, 5, 9, 7)).requires_grad_()
        rule(torch, leaf, boxes, **how).square().sum().backward()
        grads.append(leaf.grad)
    assert "_Native" in type(fast(torch, leaf, boxes, **how).grad_fn).__name__
    torch.testing.assert_close(grads[0], grads[1])
    from graphdet.compiler.backends.torch.module import to_module

    graph, arrays = op_graph(roi_align, (leaf.detach().numpy(), boxes.numpy()), how)
    out = to_module(graph)(**{k: torch.from_numpy(v) for k, v in arrays.items()})
    torch.testing.assert_close(next(iter(out.values())), fast(torch, leaf, boxes, **how).detach())


@pytest.mark.parametrize("samples", [0, 2])
def test_maps_read_in_place_or_as_tiles_give_the_same_bits(samples: int) -> None:
    rng = np.random.default_rng(3)
    features, boxes = floats(rng, 1, 20, 50, 60), rois(rng, 200, 1, 200)
    how: dict[str, Any] = {"size": (4, 4), "scale": 0.25, "samples": samples}
    whole = _C.roi_align(features, boxes, **how)
    for i in range(0, 200, 37):  # one RoI alone is read in place
        np.testing.assert_array_equal(_C.roi_align(features, boxes[i : i + 1], **how)[0], whole[i])


def test_schedule_does_not_change_results() -> None:
    rng = np.random.default_rng(4)
    features, boxes = floats(rng, 3, 40, 20, 30), rois(rng, 90, 3, 110)
    gradient = floats(rng, 90, 40, 3, 3)
    how: dict[str, Any] = {"size": (3, 3), "scale": 0.25}
    found = []
    for _ in _C.schedules():
        found.append(
            (_C.roi_align(features, boxes, **how), _C.roi_align_backward(gradient, boxes, map=(3, 20, 30), **how))
        )
    for forward, backward in found[1:]:
        np.testing.assert_array_equal(forward, found[0][0])
        np.testing.assert_array_equal(backward, found[0][1])


def test_large_and_broken_rois_are_bounded() -> None:
    features = np.ones((1, 2, 8, 8), np.float32)
    boxes = np.asarray(
        [[0, -1e9, -1e9, 1e9, 1e9], [0, np.nan, 0, 4, 4], [0, 0, 0, np.inf, 4], [0, 0, 0, 3e38, 3e38], [0, 4, 4, 1, 1]],
        np.float32,
    )
    found = _C.roi_align(features, boxes, size=(2, 2), scale=1.0)
    assert np.isfinite(found).all()
    assert not found[[1, 2, 4]].any()


def test_nan_features_stay_where_they_are() -> None:
    features = np.zeros((1, 1, 8, 8), np.float32)
    features[0, 0, 7, 7] = np.nan
    boxes = np.asarray([[0, 0, 0, 4, 4], [0, 4, 4, 8, 8]], np.float32)
    found = _C.roi_align(features, boxes, size=(2, 2), scale=1.0, samples=2)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1, 0]).tolist() == [[False, False], [False, True]]


@settings(deadline=None)
@given(SEEDS, st.booleans())
def test_levels_equal_their_reference(seed: int, aligned: bool) -> None:
    rng = np.random.default_rng(seed)
    levels = [floats(rng, 2, 5, 32 // s, 48 // s) for s in (4, 8, 16)]
    boxes = rois(rng, 2 * 6, 1, 40)[:, 1:].reshape(2, 6, 4).copy()
    boxes[:, 0] = [0, 0, 16, 16]
    count = rng.integers(-1, 8, 2)
    how: dict[str, Any] = {"strides": (4.0, 8.0, 16.0), "size": (2, 2), "samples": 2, "aligned": aligned}
    how |= {"canonical": 32.0, "finest": 3}
    expected = roi_align_levels.rules["reference"](boxes, count, *levels, **how)
    found = _C.roi_align_levels(boxes, count, *levels, None, **how)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 2), st.sampled_from([0, 1, 9]))
def test_roi_pool_equals_its_reference(seed: int, n: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    features = floats(rng, n, 3, *rng.integers(1, 14, 2))
    features[rng.random(features.shape) < 0.05] = np.nan
    boxes = rois(rng, count, n, 40)
    boxes[rng.random(boxes.shape[0]) < 0.1, 2] = np.nan
    expected = roi_pool.rules["reference"](features, boxes, size=(3, 2), scale=0.25)
    np.testing.assert_array_equal(_C.roi_pool(features, boxes, size=(3, 2), scale=0.25), expected)


F, R = np.zeros((1, 2, 4, 4), np.float32), np.zeros((1, 5), np.float32)
SIZE: dict[str, Any] = {"size": (2, 2), "scale": 1.0}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: _C.roi_align(F[0], R, **SIZE), r"features is f32\[2 4 4\], expected f32\[N C H W\]"),
        (lambda: _C.roi_align(F, R[:, :4], **SIZE), r"rois is f32\[1 4\], expected f32\[R 5\]"),
        (lambda: _C.roi_align(F, R + 1, **SIZE), r"rois\[0, 0\] is 1, expected a whole number >= 0 and < 1"),
        (lambda: _C.roi_align(F, R + np.float32(0.5), **SIZE), r"rois\[0, 0\] is 0.5"),
        (lambda: _C.roi_align(F, R * np.nan, **SIZE), r"rois\[0, 0\] is -?nan"),
        (lambda: _C.roi_align(F, R, size=(0, 2), scale=1.0), "size is 0 x 2"),
        (lambda: _C.roi_align(F, R, size=(1, 2), scale=0.0), "scale is 0"),
        (lambda: _C.roi_align(F, R, samples=-1, **SIZE), "samples is -1"),
        (lambda: _C.roi_align(F[:, :, :0], R, **SIZE), "the feature map has no pixels"),
        (
            lambda: _C.roi_align_backward(F, R, map=(1, 4, 4), **SIZE),
            r"gradient is f32\[1 2 4 4\], expected f32\[R=1 C 2 2\]",
        ),
        (lambda: _C.roi_pool(F, R - 1, **SIZE), r"rois\[0, 0\] is -1"),
        (lambda: _C.roi_align_levels(F[0], np.zeros(2, int), F, strides=[4], size=(2, 2)), "found|level"),
        (lambda: _C.roi_align_levels(F[0], np.zeros(2, int), strides=[], size=(2, 2)), "found 0 levels"),
        (
            lambda: _C.roi_align_levels(F[0], np.zeros(2, int), F, strides=[4, 8], size=(2, 2)),
            "found 1 levels and 2 strides",
        ),
    ],
)
def test_bad_input_says_what_was_found_and_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
