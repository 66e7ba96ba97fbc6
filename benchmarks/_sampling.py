"""The kernels of sampling and windows, forward and backward, against torchvision or the same in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from _case import Case, close

from graphdet.records import Array
from graphdet.runtime.kernels import kernels

Peer = Callable[..., Any]


def _pair(
    name: str, peer_name: str, operands: list[Array], free: int, forward: Peer, backward: Peer, peer: Peer
) -> list[Case]:
    """Forward and backward of one op; the first `free` operands have gradients."""
    import torch

    leaves = [torch.from_numpy(x) for x in operands]
    for leaf in leaves[:free]:
        leaf.requires_grad_()
    out = peer(*leaves)
    gradient = np.random.default_rng(9).standard_normal(out.shape, dtype=np.float32)

    def ahead() -> Any:
        with torch.no_grad():
            return peer(*leaves)

    def back() -> Any:
        return torch.autograd.grad(out, leaves[:free], torch.from_numpy(gradient), retain_graph=True)

    def same(mine: Any, theirs: Any) -> bool:
        mine = mine if isinstance(mine, tuple) else (mine,)
        scale = [max(1.0, float(t.abs().max())) for t in theirs]
        return all(close(m / s, t / s) for m, t, s in zip(mine, theirs, scale, strict=True))

    return [
        Case(name, peer_name, None, lambda: forward(*operands), ahead, close),
        Case(f"{name} backward", peer_name, None, lambda: backward(gradient, *operands), back, same),
    ]


def _deform_conv(vision: Any) -> list[Case]:
    """256 channels of 50x84, 3x3, modulated."""
    import torch

    from graphdet.ops import deform_conv2d

    native, rng = kernels(), np.random.default_rng(5)
    x, weight = rng.standard_normal((1, 256, 50, 84), dtype=np.float32), rng.normal(0, 0.02, (256, 256, 3, 3))
    offset, mask = rng.normal(0, 2, (1, 18, 50, 84)), rng.random((1, 9, 50, 84), dtype=np.float32)
    operands = [x, weight.astype(np.float32), offset.astype(np.float32), mask]
    how = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "offset_groups": 1}

    def peer(x: Any, weight: Any, offset: Any, mask: Any) -> Any:
        if vision is None:
            return deform_conv2d.rules["torch"](torch, x, weight, offset, mask, None, **how)
        return vision.deform_conv2d(x, offset, weight, None, 1, 1, 1, mask)

    def forward(*arrays: Array) -> Any:
        return native.deform_conv2d(*arrays, padding=1)

    def backward(gradient: Array, *arrays: Array) -> Any:
        return native.deform_conv2d_backward(gradient, *arrays, padding=1)

    name = "torchvision" if vision else "plain torch"
    return _pair("deformable 3x3 convolution, 256 x 50 x 84", name, operands, 4, forward, backward, peer)


def _attention() -> list[Case]:
    """Four levels of an 800x1088 image, 8 heads of 32, 4 points: an encoder layer of Deformable DETR."""
    import torch

    native, rng = kernels(), np.random.default_rng(6)
    sizes = [(100, 136), (50, 68), (25, 34), (13, 17)]
    cells, queries = sum(h * w for h, w in sizes), 4000
    levels = [np.zeros((1, 1, *size), np.float32) for size in sizes]
    value = rng.standard_normal((1, cells, 8, 32), dtype=np.float32)
    where = rng.random((1, queries, 8, 4, 4, 2), dtype=np.float32)
    weights = rng.random((1, queries, 8, 4, 4), dtype=np.float32) / 16

    def peer(value: Any, where: Any, weights: Any) -> Any:
        read, start = [], 0
        for e, (h, w) in enumerate(sizes):
            maps = value[:, start : start + h * w].flatten(2).transpose(1, 2).reshape(8, 32, h, w)
            grid = (where[0, :, :, e] * 2 - 1).transpose(0, 1)
            read.append(torch.nn.functional.grid_sample(maps, grid, align_corners=False))
            start += h * w
        factor = weights[0].transpose(0, 1).reshape(8, 1, queries, 16)
        return (torch.cat(read, 3) * factor).sum(3).permute(2, 0, 1).reshape(1, queries, 256)

    def forward(*arrays: Array) -> Any:
        return native.deform_attention(*arrays, *levels)

    def backward(gradient: Array, *arrays: Array) -> Any:
        return native.deform_attention_backward(gradient, *arrays, *levels)

    return _pair(
        "deformable attention, 4000 queries", "torch grid_sample", [value, where, weights], 3, forward, backward, peer
    )


def _focal(vision: Any) -> list[Case]:
    """100 000 anchors of 80 classes."""
    import torch

    from graphdet.ops import focal_loss

    native, rng = kernels(), np.random.default_rng(7)
    logits, labels = rng.normal(-4, 2, (1, 100_000, 80)).astype(np.float32), rng.integers(0, 81, (1, 100_000))

    def peer(logits: Any, labels: Any) -> Any:
        if vision is None:
            return focal_loss.rules["torch"](torch, logits, labels, alpha=0.25, gamma=2.0)
        target = torch.nn.functional.one_hot(labels, 81)[..., :80].to(logits.dtype)
        return vision.sigmoid_focal_loss(logits, target, 0.25, 2.0).sum(-1)

    name = "torchvision" if vision else "plain torch"
    return _pair(
        "focal loss, 100000 x 80", name, [logits, labels], 1, native.focal_loss, native.focal_loss_backward, peer
    )


def _windows() -> list[Case]:
    """CARAFE by 2 of 256 x 50 x 84, and corner pooling of 128 x 128 x 128."""
    import torch

    from graphdet.ops import carafe, corner_pool

    native, rng = kernels(), np.random.default_rng(8)
    x = rng.standard_normal((1, 256, 50, 84), dtype=np.float32)
    weights = rng.random((1, 25, 100, 168), dtype=np.float32) / 12
    square = rng.standard_normal((1, 128, 128, 128), dtype=np.float32)

    def upsampled(x: Any, weights: Any) -> Any:
        return carafe.rules["torch"](torch, x, weights, size=5, groups=1, scale=2)

    cases = _pair(
        "CARAFE 5x5, 256 x 50 x 84", "plain torch", [x, weights], 2, native.carafe, native.carafe_backward, upsampled
    )
    for side in ("top", "left"):

        def peer(x: Any, side: str = side) -> Any:
            return corner_pool.rules["torch"](torch, x, side=side)

        def forward(x: Array, side: str = side) -> Any:
            return native.corner_pool(x, side=side)

        def backward(gradient: Array, x: Array, side: str = side) -> Any:
            return native.corner_pool_backward(gradient, x, side=side)

        cases += _pair(f"corner pooling, {side}", "torch cummax", [square], 1, forward, backward, peer)
    return cases


def sampling_cases(vision: Any) -> list[Case]:
    """All comparisons."""
    return [*_deform_conv(vision), *_attention(), *_focal(vision), *_windows()]
