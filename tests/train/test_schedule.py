"""Learning rates against PyTorch's schedulers, and the reference's formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from graphdet.train.schedule import Clock, Constant, Cosine, Cyclic, OneCycle, Poly, Schedule, Step, Warmup, Yolox

torch = pytest.importorskip("torch")
STEPS, PER_EPOCH = 60, 10.0


def course(schedule: Schedule, warmup: int = 0) -> list[float]:
    return [schedule(Clock(step, STEPS, PER_EPOCH, warmup)) for step in range(STEPS)]


def torchs(make: Callable[..., object], **options: object) -> list[float]:
    """The course of one of PyTorch's schedulers, with a base rate of 1."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimiser, **options)
    found = []
    for _ in range(STEPS):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()  # type: ignore[attr-defined]
    return found


def test_against_pytorch() -> None:
    rates = torch.optim.lr_scheduler
    assert course(Cosine(0.1)) == pytest.approx(torchs(rates.CosineAnnealingLR, T_max=STEPS, eta_min=0.1))
    assert course(Step((2.0, 4.0), 0.2)) == pytest.approx(torchs(rates.MultiStepLR, milestones=[20, 40], gamma=0.2))
    assert course(Poly(0.9)) == pytest.approx(torchs(rates.PolynomialLR, total_iters=STEPS, power=0.9))
    cycle = torchs(rates.OneCycleLR, max_lr=1.0, total_steps=STEPS, pct_start=0.3, cycle_momentum=False)
    assert course(OneCycle()) == pytest.approx(cycle)
    assert course(Constant()) == [1.0] * STEPS


def test_yolox_holds_its_tail() -> None:
    found = course(Yolox(0.05, tail=0.25), warmup=10)
    assert found[:11] == [1.0] * 11
    assert found[45:] == pytest.approx([0.05] * 15)
    assert found[27] == pytest.approx(0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * 17 / 35)))


def test_cyclic_rises_and_falls_and_moves_the_momentum() -> None:
    schedule = Cyclic(10.0, 1e-4, up=0.4, cycles=2)
    found = course(schedule)
    assert found[0] == 1.0
    assert max(found) == found[12] == found[42] == pytest.approx(10.0)
    assert found[29] < 0.2
    assert schedule.momentum_at(Clock(12, STEPS, PER_EPOCH)) == pytest.approx(0.85 / 0.95)
    assert schedule.momentum_at(Clock(0, STEPS, PER_EPOCH)) == 1.0


@pytest.mark.parametrize(
    ("curve", "expected"),
    [("linear", [0.1, 0.55, 1.0]), ("constant", [0.1, 0.1, 1.0]), ("exp", [0.1, 0.1**0.5, 1.0]),
     ("square", [1 / 64, 25 / 64, 1.0])],
)  # fmt: skip
def test_warmups(curve: str, expected: list[float]) -> None:
    warmup = Warmup(epochs=0.8, ratio=0.1, curve=curve)  # type: ignore[arg-type]
    assert warmup.length(PER_EPOCH) == 8
    assert [warmup(step, 8) for step in (0, 4, 8)] == pytest.approx(expected)
