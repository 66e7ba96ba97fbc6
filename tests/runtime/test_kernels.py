"""Each native kernel against its slow NumPy form: corner sizes, ties, NaN, padding, and inputs that must be refused."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.runtime import kernel_oracles as oracle
from tests.runtime.devices import _C

pytestmark = pytest.mark.usefixtures("device")

Array = NDArray[Any]

SIZES = st.sampled_from([0, 1, 2, 3, 7, 40])
IMAGES = st.integers(0, 3)
SEEDS = st.integers(0, 2**32 - 1)
UNIT: dict[str, Any] = {"means": (0.0, 0.0, 0.0, 0.0), "stds": (1.0, 1.0, 1.0, 1.0)}


def floats(rng: np.random.Generator, *shape: int, low: float = -3, high: float = 3) -> Array:
    """Uniform float32."""
    return rng.uniform(low, high, shape).astype(np.float32)


def spoil(rng: np.random.Generator, x: Array) -> Array:
    """Coarse values, so that ties are frequent, and a few NaN and infinities among them."""
    x = np.array(np.round(x * 8) / np.float32(8))
    for bad in (np.nan, np.inf, -np.inf, -0.0):
        x[rng.random(x.shape) < 0.03] = bad
    return x


def boxes(rng: np.random.Generator, images: int, rows: int) -> Array:
    """Boxes on a coarse grid: many overlaps, some identical, some with negative sizes, some NaN."""
    corner, extent = rng.integers(0, 6, (images, rows, 2)), rng.integers(-1, 6, (images, rows, 2))
    made = np.concatenate([corner, corner + extent], axis=-1).astype(np.float32)
    made[rng.random(made.shape) < 0.01] = np.nan
    return made


def assert_same(found: Any, expected: Any) -> None:
    """Equal in dtype, shape and every bit that a comparison can see."""
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == e.dtype
        np.testing.assert_array_equal(f, e)


# --- select_top -------------------------------------------------------------------------------------------------------


@given(SEEDS, IMAGES, SIZES, SIZES, st.sampled_from([0, 1, 5, 50, 5000]), st.sampled_from([0.0, 0.25, 1.5, 99.0]))
def test_select_top_equals_full_sort(seed: int, n: int, a: int, c: int, k: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    scores = spoil(rng, floats(rng, n, a, c))
    assert_same(_C.select_top(scores, threshold, k=k), oracle.select_top(scores, threshold, k=k))


@given(SEEDS, IMAGES, SIZES, SIZES, st.sampled_from([1, 5, 5000]), st.sampled_from([0.0, 0.01, 0.5, 0.999999, 1.0]))
def test_select_top_activates_like_sigmoid(seed: int, n: int, a: int, c: int, k: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    logits = spoil(rng, floats(rng, n, a, c, low=-30, high=30))
    found = _C.select_top(logits, threshold, k=k, activation="sigmoid")
    assert_same(found, oracle.select_top(_C.sigmoid(logits), threshold, k=k))


@pytest.mark.parametrize("activation", ["", "sigmoid"])
@pytest.mark.parametrize("order", ["rising", "falling", "random", "constant"])
def test_select_top_thins_its_buffer_in_any_order(order: str, activation: str) -> None:
    x = np.linspace(-20, 20, 20_000, dtype=np.float32)
    logits = {"rising": x, "falling": x[::-1], "random": np.random.default_rng(0).permutation(x), "constant": x * 0 + 1}
    scores = np.abs(logits[order]).reshape(1, -1, 4).copy()
    activated = _C.sigmoid(scores) if activation else scores
    found = _C.select_top(scores, 0.3, k=100, activation=activation)
    assert_same(found, oracle.select_top(activated, 0.3, k=100))


def test_select_top_ties_of_saturated_logits_go_to_the_lower_index() -> None:
    logits = np.array([[[20.0, 40.0, 30.0]]], np.float32)
    scores, labels, _ = _C.select_top(logits, 0.5, k=2, activation="sigmoid")
    assert scores.tolist() == [[1.0, 1.0]]
    assert labels.tolist() == [[0, 1]]


def test_select_top_pads_with_minus_one() -> None:
    scores, labels, index = _C.select_top(np.full((1, 2, 2), np.nan, np.float32), 0.0, k=3)
    assert scores.tolist() == [[-1.0, -1.0, -1.0]]
    assert labels.tolist() == index.tolist() == [[0, 0, 0]]


# --- rows and boxes ---------------------------------------------------------------------------------------------------


@given(SEEDS, IMAGES, SIZES, SIZES, st.integers(0, 5), st.booleans())
def test_gather_rows(seed: int, n: int, a: int, k: int, d: int, shared_table: bool) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, a, d) if shared_table else floats(rng, n, a, d)
    index = rng.integers(0, max(a, 1), (n, k if a else 0))
    assert_same([_C.gather_rows(x, index)], [oracle.gather_rows(x, index)])


@given(SEEDS, IMAGES, SIZES, SIZES)
def test_gather(seed: int, n: int, a: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, index = floats(rng, n, a), rng.integers(0, max(a, 1), (n, k if a else 0))
    assert_same([_C.gather(x, index)], [oracle.gather(x, index)])


@pytest.mark.parametrize("bad", [-1, 3, 2**40])
def test_gather_names_an_index_out_of_range(bad: int) -> None:
    with pytest.raises(ValueError, match=rf"gather: index\[0, 1\] is {bad}, expected 0 <= index < 3"):
        _C.gather(np.zeros((1, 3), np.float32), np.array([[0, bad]]))


@given(SEEDS, IMAGES, SIZES, st.booleans())
def test_decode_distances(seed: int, n: int, k: int, shared_points: bool) -> None:
    rng = np.random.default_rng(seed)
    points, distances = floats(rng, k, 4) if shared_points else floats(rng, n, k, 4), floats(rng, n, k, 4)
    assert_same([_C.decode_distances(points, distances)], [oracle.decode_distances(points, distances)])


@pytest.mark.parametrize("bad", [-1, 3, 2**40])
def test_gather_rows_names_an_index_out_of_range(bad: int) -> None:
    with pytest.raises(ValueError, match=rf"index\[0, 1\] is {bad}, expected 0 <= index < 3"):
        _C.gather_rows(np.zeros((3, 2), np.float32), np.array([[0, bad]]))


@given(SEEDS, IMAGES, SIZES, st.booleans())
def test_decode_deltas(seed: int, n: int, k: int, shared_anchors: bool) -> None:
    rng = np.random.default_rng(seed)
    anchors = floats(rng, k, 4) if shared_anchors else floats(rng, n, k, 4)
    deltas = floats(rng, n, k, 4, low=-8, high=8)
    how: dict[str, Any] = {"means": (0.0, 0.1, -0.1, 0.0), "stds": (0.1, 0.1, 0.2, 2.0)}
    found = _C.decode_deltas(anchors, deltas, **how)
    np.testing.assert_allclose(found, oracle.decode_deltas(anchors, deltas, **how), rtol=1e-5, atol=1e-4)


def test_decode_deltas_of_zero_is_the_anchor_and_size_is_bounded() -> None:
    anchors = np.array([[2, 4, 10, 8]], np.float32)
    still = np.zeros((1, 1, 4), np.float32)
    np.testing.assert_array_equal(_C.decode_deltas(anchors, still, **UNIT)[0], anchors)
    huge = _C.decode_deltas(anchors, still + np.array([0, 0, 99, -99], np.float32), **UNIT)[0, 0]
    assert huge[2] - huge[0] == pytest.approx(8 * 62.5, rel=1e-5)
    assert huge[3] - huge[1] == pytest.approx(4 / 62.5, rel=1e-4)


@given(SEEDS, IMAGES, SIZES, st.booleans())
def test_decode_points(seed: int, n: int, k: int, shared_points: bool) -> None:
    rng = np.random.default_rng(seed)
    points = floats(rng, k, 4, low=1, high=32) if shared_points else floats(rng, n, k, 4, low=1, high=32)
    raw = floats(rng, n, k, 4)
    np.testing.assert_allclose(_C.decode_points(points, raw), oracle.decode_points(points, raw), rtol=1e-5, atol=1e-3)


@given(SEEDS, IMAGES, SIZES)
def test_clip_boxes(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    given_boxes, size = spoil(rng, floats(rng, n, k, 4)), floats(rng, n, 2, low=0)
    assert_same([_C.clip_boxes(given_boxes, size)], [oracle.clip_boxes(given_boxes, size)])


@given(SEEDS, IMAGES, SIZES)
def test_to_image(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    given_boxes, geometry = floats(rng, n, k, 4, high=640), floats(rng, n, 4, low=0.1)
    assert_same([_C.to_image(given_boxes, geometry)], [oracle.to_image(given_boxes, geometry)])


# --- element-wise -----------------------------------------------------------------------------------------------------


@given(SEEDS, st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 2), st.booleans(), st.booleans())
def test_concat(seed: int, lengths: list[int], axis: int, whole: bool, from_end: bool) -> None:
    rng = np.random.default_rng(seed)
    parts: list[Array] = []
    for length in lengths:
        shape = [2, 3, 2]
        shape[axis] = length
        parts.append(rng.integers(0, 9, shape) if whole else floats(rng, *shape))
    found = _C.concat(*parts, axis=axis - 3 if from_end else axis)
    assert_same([found], [np.concatenate(parts, axis=axis)])


@given(SEEDS, st.lists(st.integers(0, 4), max_size=4))
def test_sigmoid(seed: int, shape: list[int]) -> None:
    rng = np.random.default_rng(seed)
    x = spoil(rng, np.asarray(floats(rng, *shape, low=-120, high=120)))
    found = _C.sigmoid(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle.sigmoid(x), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((), ()),
        ((2, 3), (2, 3)),
        ((2, 3, 5), (2, 3, 1)),
        ((2, 1, 5), (3, 1)),
        ((4,), (2, 3, 4)),
        ((2, 0, 4), (1, 1, 4)),
        ((0,), (1,)),
        ((3, 1), (1, 4)),
        ((), (2, 2)),
        ((2, 1, 3, 1), (1, 5, 1, 4)),
    ],
)
def test_mul_broadcasts_like_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = np.asarray(floats(rng, *a)), np.asarray(floats(rng, *b))
    assert_same([_C.mul(x, y)], [np.asarray(x * y)])


# --- nms --------------------------------------------------------------------------------------------------------------


@given(SEEDS, IMAGES, SIZES, st.sampled_from([0, 1, 3, 100]), st.booleans(), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_nms_equals_greedy_loop(seed: int, n: int, k: int, keep: int, agnostic: bool, iou: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 3, (n, k)) * 10**12
    operands = (boxes(rng, n, k), spoil(rng, floats(rng, n, k)), labels, 0.1, iou)
    assert_same(_C.nms(*operands, keep=keep, agnostic=agnostic), oracle.nms(*operands, keep=keep, agnostic=agnostic))


@pytest.mark.parametrize("agnostic", [False, True])
def test_nms_of_many_boxes_in_many_classes(agnostic: bool) -> None:
    rng = np.random.default_rng(1)
    corner = floats(rng, 2, 300, 2, low=0, high=100)
    made = np.concatenate([corner, corner + floats(rng, 2, 300, 2, low=1, high=60)], axis=-1)
    operands = (made, floats(rng, 2, 300, low=0, high=1), rng.integers(0, 5, (2, 300)), 0.05, 0.4)
    assert_same(_C.nms(*operands, keep=0, agnostic=agnostic), oracle.nms(*operands, keep=0, agnostic=agnostic))


def test_nms_of_identical_boxes_keeps_the_best_of_each_label() -> None:
    same = np.tile(np.array([1, 1, 5, 5], np.float32), (1, 100, 1))
    scores, labels = np.full((1, 100), 0.5, np.float32), np.arange(100)[None] % 2
    out = _C.nms(same, scores, labels, 0.0, 0.5, keep=0, agnostic=False)
    assert out[3].tolist() == [2]
    assert out[2][0, :3].tolist() == [0, 1, -1]
    assert _C.nms(same, scores, labels, 0.0, 0.5, keep=0, agnostic=True)[3].tolist() == [1]
    assert not out[0][0, 2:].any()


def test_nms_drops_boxes_without_extent() -> None:
    flat = np.asarray([[[0, 0, 0, 0], [0, 0, 4, 0], [4, 0, 0, 4], [0, 0, np.nan, 4], [0, 0, 4, 4]]], np.float32)
    scores, labels = np.full((1, 5), 0.5, np.float32), np.zeros((1, 5), np.int64)
    found = _C.nms(flat, scores, labels, 0.0, 0.0, keep=0, agnostic=True)
    assert found[3].tolist() == [1]
    assert found[0][0, 0].tolist() == [0, 0, 4, 4]


def test_images_of_a_batch_never_mix() -> None:
    rng = np.random.default_rng(2)
    made, scores, labels = boxes(rng, 3, 30), floats(rng, 3, 30), rng.integers(0, 2, (3, 30))
    whole = _C.nms(made, scores, labels, 0.0, 0.5, keep=0, agnostic=False)
    top = _C.select_top(scores[..., None].copy(), 0.0, k=7)
    for i in range(3):
        one = slice(i, i + 1)
        alone = _C.nms(made[one], scores[one], labels[one], 0.0, 0.5, keep=0, agnostic=False)
        assert_same(alone, [x[one] for x in whole])
        assert_same(_C.select_top(scores[one][..., None].copy(), 0.0, k=7), [x[one] for x in top])


def test_kernels_run_on_several_threads_at_once() -> None:
    rng = np.random.default_rng(3)
    operands = (boxes(rng, 4, 200), floats(rng, 4, 200), rng.integers(0, 4, (4, 200)), 0.0, 0.5)
    expected = _C.nms(*operands, keep=0, agnostic=False)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(_C.nms(*operands, keep=0, agnostic=False))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for result in found:
        assert_same(result, expected)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 1000, 30_000])
@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.3])
def test_select_top_at_the_size_of_a_real_detector(k: int, threshold: float) -> None:
    logits = np.random.default_rng(4).normal(-5, 2, (2, 8400, 80)).astype(np.float32)
    scores = _C.sigmoid(logits).reshape(2, -1)
    top, labels, index = _C.select_top(logits, threshold, k=k, activation="sigmoid")
    for n in range(2):
        best = np.argsort(-scores[n], kind="stable")[:k]
        best = best[scores[n, best] > np.float32(threshold)]
        np.testing.assert_array_equal(top[n, : len(best)], scores[n, best])
        np.testing.assert_array_equal(index[n, : len(best)] * 80 + labels[n, : len(best)], best)
        assert (top[n, len(best) :] == -1).all()


@pytest.mark.slow
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("keep", [0, 300])
def test_nms_at_the_size_of_a_real_detector(keep: int, agnostic: bool) -> None:
    rng = np.random.default_rng(5)
    corner = floats(rng, 1, 1500, 2, low=0, high=600)
    made = np.concatenate([corner, corner + floats(rng, 1, 1500, 2, low=5, high=90)], axis=-1)
    operands = (made, floats(rng, 1, 1500, low=0, high=1), rng.integers(0, 4, (1, 1500)), 0.01, 0.65)
    assert_same(_C.nms(*operands, keep=keep, agnostic=agnostic), oracle.nms(*operands, keep=keep, agnostic=agnostic))


# --- what crosses the border ------------------------------------------------------------------------------------------


def test_strided_and_unaligned_arrays_mean_the_same() -> None:
    x = np.arange(48, dtype=np.float32).reshape(2, 6, 4)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert not unaligned.flags.aligned
    size = np.full((2, 2), 20, np.float32)
    for view in (x[:, ::-2], np.asfortranarray(x), x.transpose(0, 1, 2)[:, 1:], unaligned):
        assert_same([_C.clip_boxes(view, size)], [_C.clip_boxes(np.ascontiguousarray(view).copy(), size)])


@pytest.mark.parametrize("threshold", [0.5, 1, np.float32(0.5), np.array(0.5, np.float32), np.array([0.5], np.float32)])
def test_thresholds_may_be_numbers_or_arrays_of_one(threshold: Any) -> None:
    scores = np.array([[[0.4], [2.0]]], np.float32)
    assert _C.select_top(scores, threshold, k=1)[2].tolist() == [[1]]


F, I = np.zeros((1, 2, 4), np.float32), np.zeros((1, 2), np.int64)  # noqa: E741 - one float, one integer tensor
S = np.zeros((1, 2), np.float32)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: _C.sigmoid(F.astype(np.float64)), "sigmoid: x is an array of float64, expected an array of float32"),
        (lambda: _C.sigmoid(F.astype(">f4")), "sigmoid: x is an array of >f4"),
        (lambda: _C.sigmoid([1.0]), "sigmoid: x is a list"),
        (lambda: _C.sigmoid(I), r"sigmoid: x is i64\[1 2\], expected f32"),
        (lambda: _C.sigmoid(np.zeros((1,) * 9, np.float32)), "has 9 dimensions, expected at most 8"),
        (lambda: _C.mul(F, S), r"mul: a is f32\[1 2 4\], b is f32\[1 2\]"),
        (lambda: _C.concat(axis=0), "concat: found no operand"),
        (lambda: _C.concat(F, axis=3), "concat: axis is 3, expected -3 <= axis < 3"),
        (lambda: _C.concat(F, S, axis=0), r"concat: operand 1 is f32\[1 2\]"),
        (lambda: _C.concat(S, I, axis=0), r"concat: operand 1 is i64\[1 2\]"),
        (lambda: _C.select_top(S, 0.1, k=1), r"select_top: scores is f32\[1 2\], expected f32\[N A C\]"),
        (lambda: _C.select_top(F, -0.1, k=1), "select_top: threshold is -0.1, expected a number >= 0"),
        (lambda: _C.select_top(F, np.nan, k=1), "select_top: threshold is nan"),
        (lambda: _C.select_top(F, "x", k=1), "select_top: threshold is a str"),
        (lambda: _C.select_top(F, S, k=1), "select_top: threshold is an array of float32"),
        (lambda: _C.select_top(F, 0.1, k=-1), "select_top: k is -1"),
        (lambda: _C.select_top(F, 0.1, k=1, activation="tanh"), "activation is 'tanh', expected '' or 'sigmoid'"),
        (lambda: _C.gather_rows(F, I.astype(np.int32)), "gather_rows: index is an array of int32"),
        (lambda: _C.gather_rows(F, np.zeros((2, 1), np.int64)), r"x is f32\[1 2 4\], expected f32\[N=2 A D\]"),
        (lambda: _C.decode_deltas(S, F, **UNIT), r"anchors is f32\[1 2\], expected f32\[K=2 4\]"),
        (lambda: _C.decode_deltas(F, F, **UNIT, max_ratio=0.0), "max_ratio is 0, expected a number > 0"),
        (lambda: _C.decode_points(F, S), r"decode_points: raw is f32\[1 2\], expected f32\[N K 4\]"),
        (lambda: _C.clip_boxes(F, np.zeros((1, 4), np.float32)), r"size is f32\[1 4\], expected f32\[N=1 2\]"),
        (lambda: _C.to_image(F, S), r"geometry is f32\[1 2\], expected f32\[N=1 4\]"),
        (lambda: _C.nms(S, S, I, 0, 0, keep=0, agnostic=True), r"nms: boxes is f32\[1 2\], expected f32\[N K 4\]"),
        (lambda: _C.nms(F, S[:, :1], I, 0, 0, keep=0, agnostic=True), r"scores is f32\[1 1\], expected f32\[N=1 K=2\]"),
        (lambda: _C.nms(F, S, S, 0, 0, keep=0, agnostic=True), r"labels is f32\[1 2\], expected i64\[N=1 K=2\]"),
        (lambda: _C.nms(F, S, I, 0, 0, keep=-1, agnostic=True), "nms: keep is -1"),
    ],
)
def test_bad_input_says_what_was_found_and_expected(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
