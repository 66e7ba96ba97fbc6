"""Deformable convolution and attention: kernels and their gradients, corner values, threads, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphdet.blocks import deform_conv
from graphdet.compiler.backends.numpy.execute import execute
from graphdet.ir import Dim, tensor, tracing
from graphdet.ir.initial import initial_values
from graphdet.ir.trace import graph_input
from graphdet.ops import conv2d, deform_attention, deform_conv2d
from tests.runtime.devices import _C

pytestmark = pytest.mark.usefixtures("device")
Array = Any
SEEDS = st.integers(0, 2**32 - 1)


def floats(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def conv_case(
    rng: np.random.Generator, n: int, channels: int, filters: int, how: dict[str, int], masked: bool, kernel: int = 3
) -> list[Array]:
    """Operands of a deformable convolution: points inside, outside, and exactly between pixels."""
    height, width = (int(v) for v in rng.integers(5, 12, 2))
    span = how["dilation"] * (kernel - 1) + 1
    p, q = ((v + 2 * how["padding"] - span) // how["stride"] + 1 for v in (height, width))
    moved = how["offset_groups"] * kernel * kernel
    offset = floats(rng, n, 2 * moved, p, q, scale=2)
    whole = rng.random(offset.shape) < 0.1
    offset[whole] = np.round(offset[whole])
    return [
        floats(rng, n, channels, height, width),
        floats(rng, filters, channels // how["groups"], kernel, kernel, scale=0.1), offset,
        rng.random((n, moved, p, q), dtype=np.float32) if masked else None, floats(rng, filters),
    ]  # fmt: skip


SHAPES = st.sampled_from([(3, 4, 1, 1), (16, 20, 1, 2), (24, 8, 2, 1), (36, 6, 3, 2), (8, 8, 8, 4), (40, 33, 1, 1)])


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(1, 2), SHAPES, st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.booleans())
def test_deform_conv_and_its_gradients(
    seed: int, n: int, shape: tuple[int, int, int, int], stride: int, padding: int, dilation: int, masked: bool
) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    channels, filters, groups, offset_groups = shape
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "offset_groups": offset_groups}
    operands = conv_case(rng, n, channels, filters, how, masked)
    leaves = [None if x is None else torch.from_numpy(x).double().requires_grad_() for x in operands]
    out = deform_conv2d.rules["torch"](torch, *leaves, **how)
    found = _C.deform_conv2d(*operands, **how)
    np.testing.assert_allclose(found, out.detach().numpy(), rtol=1e-4, atol=2e-5)
    gradient = floats(rng, *out.shape)
    (out * torch.from_numpy(gradient)).sum().backward()
    expected = [x.grad.numpy() for x in leaves[:4] if x is not None]
    for mine, theirs in zip(_C.deform_conv2d_backward(gradient, *operands[:4], **how), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=2e-4)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.integers(1, 2), st.sampled_from([1, 3]), st.sampled_from([1, 7, 16, 37]), st.integers(1, 4))
def test_attention_and_its_gradients(seed: int, n: int, heads: int, width: int, points: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    levels = [floats(rng, n, 1, int(h), int(w)) for h, w in rng.integers(1, 9, (int(rng.integers(1, 4)), 2))]
    cells = sum(x.shape[2] * x.shape[3] for x in levels)
    shape = (n, 5, heads, len(levels), points)
    where = rng.uniform(-0.3, 1.3, (*shape, 2)).astype(np.float32)
    operands = [floats(rng, n, cells, heads, width), where, floats(rng, *shape)]
    leaves = [torch.from_numpy(x).double().requires_grad_() for x in operands]
    out = deform_attention.rules["torch"](torch, *leaves, *levels)
    np.testing.assert_allclose(_C.deform_attention(*operands, *levels), out.detach().numpy(), rtol=1e-3, atol=2e-4)
    gradient = floats(rng, *out.shape)
    (out * torch.from_numpy(gradient)).sum().backward()
    found = _C.deform_attention_backward(gradient, *operands, *levels)
    for mine, leaf in zip(found, leaves, strict=True):
        np.testing.assert_allclose(mine, leaf.grad.numpy(), rtol=2e-3, atol=1e-3)


def test_attention_is_what_grid_sampling_gives() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    sizes = [(6, 9), (3, 4)]
    value, where = floats(rng, 2, 66, 3, 8), rng.uniform(-0.2, 1.2, (2, 7, 3, 2, 4, 2)).astype(np.float32)
    weights = floats(rng, 2, 7, 3, 2, 4)
    expected: Any = 0.0
    start = 0
    for e, (h, w) in enumerate(sizes):
        maps = torch.from_numpy(value[:, start : start + h * w]).permute(0, 2, 3, 1).reshape(6, 8, h, w)
        grid = torch.from_numpy(where[:, :, :, e]).transpose(1, 2).reshape(6, 7, 4, 2) * 2 - 1
        read = torch.nn.functional.grid_sample(maps, grid, align_corners=False)  # [6 8 7 4]
        factor = torch.from_numpy(weights[:, :, :, e]).transpose(1, 2).reshape(6, 1, 7, 4)
        expected = expected + (read * factor).sum(-1).reshape(2, 3, 8, 7).permute(0, 3, 1, 2).reshape(2, 7, 24)
        start += h * w
    levels = [np.zeros((2, 1, *size), np.float32) for size in sizes]
    found = _C.deform_attention(value, where, weights, *levels)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_zero_offsets_are_an_ordinary_convolution() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    x, weight, bias = floats(rng, 2, 20, 9, 10), floats(rng, 12, 10, 3, 3, scale=0.1), floats(rng, 12)
    how = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}
    expected = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, weight, bias)), 2, 2, 2, 2).numpy()
    still = np.zeros((2, 18, *expected.shape[2:]), np.float32)
    np.testing.assert_allclose(_C.deform_conv2d(x, weight, still, None, bias, **how), expected, rtol=1e-4, atol=1e-5)


def test_schedule_does_not_change_results() -> None:
    rng = np.random.default_rng(4)
    how = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "offset_groups": 2}
    operands = conv_case(rng, 2, 70, 30, how, True)
    conv_gradient = floats(rng, *_C.deform_conv2d(*operands, **how).shape)
    levels = [floats(rng, 2, 1, 12, 14), floats(rng, 2, 1, 6, 7)]
    attention = [floats(rng, 2, 210, 4, 20), rng.random((2, 90, 4, 2, 4, 2), dtype=np.float32)]
    attention.append(floats(rng, 2, 90, 4, 2, 4))
    gradient = floats(rng, 2, 90, 80)
    calls: list[Callable[[], Any]] = [
        lambda: (_C.deform_conv2d(*operands, **how),),
        lambda: _C.deform_conv2d_backward(conv_gradient, *operands[:4], **how),
        lambda: (_C.deform_attention(*attention, *levels),),
        lambda: _C.deform_attention_backward(gradient, *attention, *levels),
    ]
    found = []
    for _ in _C.schedules():
        found.append([x for call in calls for x in call()])
    atomics = () if _C.device == "cpu" else (1, 6)  # gradients of inputs and values are added up in any order on a GPU
    for others in found[1:]:
        for i, (mine, first) in enumerate(zip(others, found[0], strict=True)):
            if i in atomics:
                np.testing.assert_allclose(mine, first, rtol=1e-4, atol=1e-4)
            else:
                np.testing.assert_array_equal(mine, first)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_points_that_are_nowhere_read_zero(bad: float) -> None:
    rng = np.random.default_rng(7)
    x, weight, offset = floats(rng, 1, 3, 4, 4), floats(rng, 2, 3, 1, 1), np.zeros((1, 2, 4, 4), np.float32)
    offset[0, 0, 1, 2] = bad
    found = _C.deform_conv2d(x, weight, offset)
    assert not found[0, :, 1, 2].any()
    assert np.count_nonzero(found) == 2 * 15
    for gradient in _C.deform_conv2d_backward(np.ones_like(found), x, weight, offset):
        assert np.isfinite(gradient).all()
    level = np.zeros((1, 1, 4, 4), np.float32)
    value, where = floats(rng, 1, 16, 1, 5), np.full((1, 2, 1, 1, 1, 2), 0.5, np.float32)
    where[0, 0, 0, 0, 0, 1] = bad
    attended = _C.deform_attention(value, where, np.ones((1, 2, 1, 1, 1), np.float32), level)
    assert attended[0].any(1).tolist() == [False, True]


def test_nan_spreads_to_its_readers_alone() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    x[0, 0, 3, 3] = np.nan
    found = _C.deform_conv2d(x, np.ones((1, 1, 1, 1), np.float32), np.zeros((1, 2, 4, 4), np.float32))
    assert np.isnan(found).sum() == 1


X, W, F = np.zeros((1, 4, 5, 5), np.float32), np.zeros((2, 4, 3, 3), np.float32), np.zeros((1, 18, 3, 3), np.float32)
V, A, B = np.zeros((1, 6, 2, 4), np.float32), np.zeros((1, 3, 2, 1, 2, 2), np.float32), np.zeros((1, 3, 2, 1, 2))
E = np.zeros((1, 1, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: _C.deform_conv2d(X[0], W, F), r"x is f32\[4 5 5\], expected f32\[N C H W\]"),
        (lambda: _C.deform_conv2d(X, W, F[:, :17]), r"offset is f32\[1 17 3 3\], expected f32\[N=1 18 P=3 Q=3\]"),
        (lambda: _C.deform_conv2d(X, W, F, F), r"mask is f32\[1 18 3 3\], expected f32\[N=1 9 P=3 Q=3\]"),
        (lambda: _C.deform_conv2d(X, W, F, np.zeros((), np.float32)), r"mask is f32\[\], expected"),
        (lambda: _C.deform_conv2d(X, W, F, groups=3), "4 channels in 3 groups"),
        (lambda: _C.deform_conv2d(X, W, F, stride=0), "stride and dilation are 1, 1, 0 and 1"),
        (lambda: _C.deform_conv2d(X[:, :0], W[:, :0], F), "for 0 channels"),
        (lambda: _C.deform_conv2d(X, W, F.astype(np.float64)), "offset is an array of float64"),
        (lambda: _C.deform_conv2d_backward(X, X, W, F), r"gradient is f32\[1 4 5 5\], expected f32\[N=1 O=2 P=3 Q=3\]"),
        (lambda: _C.deform_attention(V, A, B.astype(np.float32)), "found 0 levels, expected 1 to 8"),
        (lambda: _C.deform_attention(V, A, B.astype(np.float32), E[:, :, :1]), "value has 6 cells, but the levels"),
        (lambda: _C.deform_attention(V, A, B.astype(np.float32)[:, :2], E), r"weights is f32\[1 2 2 1 2\]"),
        (lambda: _C.deform_attention(V, A, B.astype(np.float32), E[0]), r"a level is f32\[1 2 3\]"),
    ],
)  # fmt: skip
def test_bad_input_says_what_was_found_and_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_training_uses_the_kernels() -> None:
    torch = pytest.importorskip("torch")
    from graphdet.compiler.backends.torch.kernels import RULES

    rng = np.random.default_rng(9)
    how = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "offset_groups": 1}
    operands = conv_case(rng, 1, 6, 5, how, True)
    found = []
    for rule in (RULES["deform_conv2d"], deform_conv2d.rules["torch"]):
        leaves = [torch.from_numpy(x).requires_grad_() for x in operands]
        out = rule(torch, *leaves, **how)
        out.square().sum().backward()
        found.append([out.detach(), *(x.grad for x in leaves)])
    assert "_Native" in type(RULES["deform_conv2d"](torch, *leaves, **how).grad_fn).__name__
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("modulated", [True, False])
def test_block_begins_as_an_ordinary_convolution(modulated: bool) -> None:
    """Offsets are zero at first, a mask is one half. Parameters have the names of the reference."""
    with tracing("block") as opened:
        x = graph_input("x", tensor("f32", Dim.symbol("N"), 4, Dim.symbol("H"), Dim.symbol("W")))
        out = deform_conv("conv2", x, 6, stride=2, groups=2, dilation=2, offset_groups=2, modulated=modulated)
    graph = opened.graph({"y": out})
    values = initial_values(graph)
    shapes = {name: v.shape for name, v in values.items()}
    moved = (54 if modulated else 36, 4, 3, 3)
    assert shapes == {
        "conv2.weight": (6, 2, 3, 3), "conv2.bias": (6,), "conv2.conv_offset.weight": moved,
        "conv2.conv_offset.bias": moved[:1],
    }  # fmt: skip
    x = floats(np.random.default_rng(0), 2, 4, 9, 7)
    (found,) = execute(graph, {"x": x}, values).values()
    plain = conv2d.rules["reference"](x, values["conv2.weight"], None, stride=2, padding=2, dilation=2, groups=2)
    np.testing.assert_allclose(found, plain * (0.5 if modulated else 1), rtol=1e-4, atol=1e-5)
