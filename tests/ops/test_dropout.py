"""Dropout: how much falls, by what, and where networks have it."""

from __future__ import annotations

import numpy as np
import pytest

from graphdet import ops, zoo
from graphdet.ir import trace

torch = pytest.importorskip("torch")


def dropped(seed: int, stream: int = 0, rate: float = 0.1) -> np.ndarray:
    ones = np.ones((40, 50), np.float32)
    return np.asarray(ops.dropout.rules["reference"](ones, np.float32(seed), rate=rate, stream=stream))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_part_falls_and_the_mean_stays(rate: float) -> None:
    for seed in (1, 2, 90000):
        found = dropped(seed, rate=rate)
        assert (found == 0).mean() == pytest.approx(rate, abs=0.04)
        assert found.mean() == pytest.approx(1, abs=0.05)
    assert dropped(0).all()


def test_steps_and_places_fall_apart() -> None:
    first = dropped(1) == 0
    assert (first == (dropped(1) == 0)).all()
    for other in (dropped(2), dropped(1, stream=1), dropped(2, stream=1)):
        assert (first & (other == 0)).sum() < 0.3 * first.sum(), "one tenth would by chance"


def test_weights_of_attention_fall() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, n, 8)).astype(np.float32) for n in (5, 7, 7))
    seen = np.arange(7) < np.asarray([7, 3])[:, None, None]
    how = {"heads": 2, "rate": 0.3, "stream": 4}
    found = {seed: ops.attention.rules["reference"](q, k, v, seen, np.float32(seed), **how) for seed in (0, 1)}
    plain = ops.attention.rules["reference"](q, k, v, seen, None, heads=2, rate=0.0, stream=0)
    np.testing.assert_array_equal(found[0], plain)
    assert (found[1] != plain).any()
    for seed, expected in found.items():
        tensors = (torch.from_numpy(x) for x in (q, k, v, seen))
        ours = ops.attention.rules["torch"](torch, *tensors, torch.tensor(float(seed)), **how)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["detr_r50", "deformable_detr_r50"])
def test_each_place_has_a_stream_of_its_own(name: str) -> None:
    nodes = [n for n in trace(zoo.get(name), "train") if n.attributes.get("rate")]
    assert len(nodes) == len({n.attributes["stream"] for n in nodes})
    assert nodes
    assert not any(n.attributes.get("rate") for n in trace(zoo.get(name), "infer"))
