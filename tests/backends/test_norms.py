"""Batch norms that are joined over processes say what PyTorch's own says of the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from graphdet.compiler.backends.torch.norms import synchronised_batch_norm  # noqa: E402


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def run(joined: bool, dtype: Any, offset: float) -> list[Any]:
    """Result, statistics and gradients of a norm in float64."""
    draw = torch.Generator().manual_seed(0)
    x, upstream = (torch.randn((4, 3, 5, 7), generator=draw) + shift for shift in (offset, 0.0))
    own = [v.to(dtype).clone().requires_grad_() for v in (x, *(torch.randn(3, generator=draw) for _ in range(2)))]
    mean, var, seen = torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype), torch.zeros((), dtype=torch.int64)
    if joined:
        y = synchronised_batch_norm(own[0], own[1], own[2], mean, var, seen, eps=1e-3, momentum=0.03)
        assert seen == 1
    else:
        y = torch.nn.functional.batch_norm(own[0], mean, var, own[1], own[2], True, 0.03, 1e-3)
    y.backward(upstream.to(dtype))
    return [v.detach().double() for v in (y, mean, var, *(v.grad for v in own))]


@pytest.mark.parametrize("offset", [0.0, 200.0])
def test_joined_norm(alone: None, offset: float) -> None:
    """As near to the exact result as PyTorch's norm, also where the mean is far larger than the deviation."""
    exact = run(False, torch.float64, offset)
    single = (run(joined, torch.float32, offset) for joined in (True, False))
    for found, own, expected in zip(*single, exact, strict=True):
        allowed = 2 * float((own - expected).abs().max()) + 1e-6 * float(expected.abs().max())
        assert float((found - expected).abs().max()) <= allowed
