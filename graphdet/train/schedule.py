"""How the learning rate runs: a warm-up, and one of several curves. Each gives a factor of the base rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Clock:
    """Where a run stands: `step` steps done of `steps`, `per_epoch` steps an epoch, `warmup` steps of warm-up."""

    step: int
    steps: int
    per_epoch: float
    warmup: int = 0

    @property
    def share(self) -> float:
        """Part of the run that is done, 0..1."""
        return self.step / max(1, self.steps)


@dataclass(frozen=True)
class Warmup:
    """A rise at the start, over `steps` or else `epochs`; it multiplies the schedule.

    With t = step / length: `linear` from `ratio` to 1 · `constant`: `ratio` · `exp`: ratio^(1 - t) · `square`:
    ((step + 1) / length)^2 (YOLOX).
    """

    steps: int = 0
    epochs: float = 0.0
    ratio: float = 0.001
    curve: Literal["linear", "constant", "exp", "square"] = "linear"

    def length(self, per_epoch: float) -> int:
        """Its number of steps."""
        return self.steps or round(self.epochs * per_epoch)

    def __call__(self, step: int, length: int) -> float:
        """The factor at a step."""
        if step >= length:
            return 1.0
        t = step / length
        match self.curve:
            case "linear":
                return 1 - (1 - t) * (1 - self.ratio)
            case "constant":
                return self.ratio
            case "exp":
                return float(self.ratio ** (1 - t))
            case "square":
                return ((step + 1) / length) ** 2


@dataclass(frozen=True)
class Constant:
    """The base rate throughout."""

    def __call__(self, clock: Clock) -> float:
        """The factor at a step."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """Times `gamma` at every milestone, in epochs."""

    milestones: tuple[float, ...] = (8.0, 11.0)
    gamma: float = 0.1

    def __call__(self, clock: Clock) -> float:
        """The factor at a step."""
        passed = sum(clock.step >= round(m * clock.per_epoch) for m in self.milestones)
        return float(self.gamma**passed)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `final` over the whole run (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    final: float = 0.0

    def __call__(self, clock: Clock) -> float:
        """The factor at a step."""
        return _cosine(1.0, self.final, clock.share)


@dataclass(frozen=True)
class Yolox:
    """A cosine from the end of the warm-up to `final`, which holds for the last `tail` of the run, a share of it."""

    final: float = 0.05
    tail: float = 0.05

    def __call__(self, clock: Clock) -> float:
        """The factor at a step."""
        span = clock.steps * (1 - self.tail) - clock.warmup
        return _cosine(1.0, self.final, min(1.0, max(0, clock.step - clock.warmup) / max(1.0, span)))


@dataclass(frozen=True)
class Poly:
    """(1 - share)^power from 1 down to `final`."""

    power: float = 0.9
    final: float = 0.0

    def __call__(self, clock: Clock) -> float:
        """The factor at a step."""
        return float((1 - self.final) * (1 - clock.share) ** self.power + self.final)


@dataclass(frozen=True)
class Cyclic:
    """`cycles` waves: a cosine from 1 up to `top` over the share `up` of a cycle, then down to `bottom`.

    momentum: what the momentum is multiplied with at the top of the wave.
    """

    top: float = 10.0
    bottom: float = 1e-4
    up: float = 0.4
    cycles: int = 1
    momentum: float = 0.85 / 0.95

    def __call__(self, clock: Clock) -> float:
        """The factor at a step."""
        return self._wave(clock, 1.0, self.top, self.bottom)

    def momentum_at(self, clock: Clock) -> float:
        """The factor of the momentum at a step."""
        return self._wave(clock, 1.0, self.momentum, 1.0)

    def _wave(self, clock: Clock, start: float, top: float, end: float) -> float:
        place = clock.share * self.cycles % 1.0
        if place < self.up:
            return _cosine(start, top, place / self.up)
        return _cosine(top, end, (place - self.up) / (1 - self.up))


@dataclass(frozen=True)
class OneCycle:
    """From 1/`start` up to 1 over the share `up` of the run, then down to 1/(`start` x `end`), both cosines.

    Smith and Topin 2019, arXiv:1708.07120.
    """

    start: float = 25.0
    end: float = 1e4
    up: float = 0.3

    def __call__(self, clock: Clock) -> float:
        """The factor at a step."""
        rise, last = self.up * clock.steps - 1, clock.steps - 1
        if clock.step <= rise:
            return _cosine(1 / self.start, 1.0, clock.step / rise)
        return _cosine(1.0, 1 / (self.start * self.end), (clock.step - rise) / (last - rise))


Schedule = Constant | Step | Cosine | Yolox | Poly | Cyclic | OneCycle


def _cosine(start: float, end: float, t: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * t))
