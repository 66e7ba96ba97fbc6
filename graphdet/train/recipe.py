"""What a training run is: everything that decides its result, in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from graphdet.errors import BadRecipe, nearest

OPTIMISERS = ("adamw", "sgd")
_NOT_NEGATIVE = ("warmup", "seed", "cache_mb")
_POSITIVE = ("steps", "batch", "threads", "workers", "save_every", "evaluate_every")
_SHARES = ("final_lr", "momentum", "ema", "l1_from", "flip", "jitter", "rescale")
_COMFORT = ("threads", "workers", "save_every", "evaluate_every", "cache_mb")  # a resumed run may have others


@dataclass(frozen=True)
class Recipe:
    """A training run. Equal recipes with equal `threads` on one machine give equal weights, interrupted or not.

    detector: a variant of the zoo · data, held_out: datasets as `parse_data` reads them; the second is evaluated, `""`
    for no evaluation · steps: optimiser steps of `batch` images · lr: learning rate after `warmup` steps, falling along
    a cosine to `final_lr` times itself · optimiser: `adamw` or `sgd` (Nesterov, with `momentum`) · weight_decay: of
    convolution and matrix weights; norms and biases have none · clip: largest norm of the gradient · ema: decay of the
    averaged weights, which are the result · l1_from: share of the steps after which the detector's late losses join ·
    seed: initial weights, order of images, augmentation · flip, jitter, rescale: how often an image is mirrored (each
    way), recoloured, scaled and shifted · precision: `fp32`, the only one · threads: of PyTorch · workers: threads that
    prepare batches · cache_mb: decoded images kept in memory · save_every, evaluate_every: in steps.

    Raises BadRecipe for a value out of range.
    """

    detector: str
    data: str
    held_out: str = ""
    steps: int = 4000
    batch: int = 16
    optimiser: str = "adamw"
    lr: float = 2e-3
    final_lr: float = 0.02
    warmup: int = 200
    momentum: float = 0.9
    weight_decay: float = 0.02
    clip: float = 10.0
    ema: float = 0.998
    l1_from: float = 0.8
    seed: int = 0
    flip: float = 0.5
    jitter: float = 0.5
    rescale: float = 0.25
    precision: str = "fp32"
    threads: int = 2
    workers: int = 1
    cache_mb: int = 2048
    save_every: int = 500
    evaluate_every: int = 1000

    def __post_init__(self) -> None:
        for name in (*_NOT_NEGATIVE, *_POSITIVE):
            value, least = getattr(self, name), int(name in _POSITIVE)
            if not isinstance(value, int) or value < least:
                raise BadRecipe(f"{name} = {value!r}, expected a whole number of at least {least}")
        for name in _SHARES:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise BadRecipe(f"{name} = {value!r}, expected 0 to 1")
        if not (self.lr > 0 and self.clip > 0 and self.weight_decay >= 0):
            found = f"lr {self.lr}, clip {self.clip}, weight_decay {self.weight_decay}"
            raise BadRecipe(f"{found}: expected positive numbers")
        if self.optimiser not in OPTIMISERS:
            raise BadRecipe(f"optimiser {self.optimiser!r} is unknown", help=f"one of {', '.join(OPTIMISERS)}")
        if self.precision != "fp32":
            raise BadRecipe(f"precision {self.precision!r} is not available in training", help="fp32")

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; `Recipe.from_dict` reads it back."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Read the form that `as_dict` writes. Raises BadRecipe for an unknown or missing name."""
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise BadRecipe(f"a recipe has no {name!r}", help=nearest(name, known))
        try:
            return cls(**values)
        except TypeError as error:
            raise BadRecipe(f"the recipe does not fit: {error}") from None

    def differences(self, other: Recipe) -> list[str]:
        """What the results of two recipes would differ by: `lr: 0.002 -> 0.001`."""
        pairs = [(name, value, getattr(other, name)) for name, value in self.as_dict().items() if name not in _COMFORT]
        return [f"{name}: {mine} -> {its}" for name, mine, its in pairs if mine != its]
