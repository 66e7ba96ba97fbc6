"""Optimiser, learning rate and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from graphdet.train.recipe import Recipe

_EMA_RAMP = 100  # updates over which the average starts to remember (1 - exp(-n / ramp)), as random weights are no use


def optimiser_of(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the trainable parameters; those of one axis (norms, biases) have no weight decay."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of a step: a line up to `lr` over the warm-up, then half a cosine down to `final_lr * lr`."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    share = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr * (recipe.final_lr + (1 - recipe.final_lr) * 0.5 * (1 + math.cos(math.pi * share)))


class Ema:
    """An exponential moving average of a module's parameters and buffers; counters are copied."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = {name: value.detach().clone() for name, value in _state(module)}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present values."""
        self.updates += 1
        rate = 1 - self.decay * (1 - math.exp(-self.updates / _EMA_RAMP))
        for name, value in _state(module):
            if value.is_floating_point():
                self.values[name].lerp_(value, rate)
            else:
                self.values[name].copy_(value)


def _state(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.state_dict().items()
