"""Optimisers with factors a parameter, learning rates, and averaged weights."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from graphdet.errors import BadRecipe, nearest
from graphdet.train.recipe import Exponential, Linear, Optimiser
from graphdet.train.schedule import Clock, Cyclic, Schedule, Warmup


def optimiser_of(module: nn.Module, spec: Optimiser) -> torch.optim.Optimizer:
    """The optimiser over all trainable parameters, grouped by their factors; see `factors_of`.

    Raises BadRecipe for a name or an option that `torch.optim` does not have.
    """
    kinds = {n: k for n, k in vars(torch.optim).items() if isinstance(k, type)}
    known: dict[str, Any] = {n: k for n, k in kinds.items() if issubclass(k, torch.optim.Optimizer)}
    if spec.name not in known or spec.name == "Optimizer":
        raise BadRecipe(f"torch.optim has no {spec.name!r}", help=nearest(spec.name, known))
    accepted = inspect.signature(known[spec.name]).parameters
    for name in spec.options:
        if name not in accepted:
            raise BadRecipe(f"{spec.name} has no option {name!r}", help=nearest(name, accepted) or ", ".join(accepted))
    factors = factors_of(module, spec)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(factors[name], []).append(parameter)
    if not groups:
        raise BadRecipe("no parameter is left to train", help="freeze fewer")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.options.items()}
    records = [
        {"params": parameters, "factor": lr, "weight_decay": spec.weight_decay * decay}
        for (lr, decay), parameters in groups.items()
    ]
    made: torch.optim.Optimizer = known[spec.name](records, lr=spec.lr, **options)
    for group in made.param_groups:
        group["momentum_base"] = group["betas"][0] if "betas" in group else group.get("momentum", 0.0)
    return made


def factors_of(module: nn.Module, spec: Optimiser) -> dict[str, tuple[float, float]]:
    """(factor of the learning rate, factor of the weight decay) of every parameter."""
    shapes = {name: parameter.ndim for name, parameter in module.named_parameters()}
    stages = list(dict.fromkeys(_stage(name) for name in shapes if name.startswith("backbone.")))
    found = {}
    for name, rank in shapes.items():
        lr = decay = 1.0
        if rank == 1 and shapes.get(f"{name.rpartition('.')[0]}.weight", 2) == 1:
            decay *= spec.norm_decay
        elif rank == 1:
            lr, decay = lr * spec.bias_lr, decay * spec.bias_decay
        if name.startswith("backbone."):
            lr *= spec.layer_decay ** (len(stages) - stages.index(_stage(name)))
        for rule in spec.rules:
            if re.search(rule.match, name):
                lr, decay = lr * rule.lr, decay * rule.decay
        found[name] = lr, decay
    return found


def _stage(name: str) -> str:
    return name.split(".")[1]


def set_rates(optimiser: torch.optim.Optimizer, spec: Optimiser, base: float, schedule: Schedule,
              warmup: Warmup, clock: Clock) -> float:  # fmt: skip
    """Give every group its learning rate (and momentum, where the schedule moves it). Returns the base rate."""
    rate = base * schedule(clock) * warmup(clock.step, clock.warmup)
    momentum = schedule.momentum_at(clock) if isinstance(schedule, Cyclic) else 1.0
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
        if isinstance(schedule, Cyclic) and "betas" in group:
            group["betas"] = (group["momentum_base"] * momentum, group["betas"][1])
        elif isinstance(schedule, Cyclic) and "momentum" in group:
            group["momentum"] = group["momentum_base"] * momentum
    return rate


class Average:
    """A moving average of a module's parameters and buffers; counters are copied."""

    def __init__(self, module: nn.Module, rule: Exponential | Linear) -> None:
        self.rule = rule
        self.reset(module)

    def reset(self, module: nn.Module) -> None:
        """Start from the module's present values."""
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in _state(module)}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present values."""
        self.updates += 1
        rate = self.rule.rate(self.updates)
        for name, value in _state(module):
            if value.is_floating_point():
                self.values[name].lerp_(value, rate)
            else:
                self.values[name].copy_(value)


def _state(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.state_dict().items()
