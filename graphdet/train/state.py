"""The state of a training run, and its one step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphdet.compiler.backends.torch import faster, load_weights, to_module
from graphdet.compiler.backends.torch.blame import first_bad
from graphdet.compiler.backends.torch.norms import freeze_norms, synchronise_norms
from graphdet.errors import BadRecipe, Diverged
from graphdet.eval import CocoResult
from graphdet.ir import Variant, trace
from graphdet.ir.detector import late_losses
from graphdet.ir.initial import initial_values
from graphdet.records import Array
from graphdet.train import checkpoint
from graphdet.train.batch import Inputs, most_proposals
from graphdet.train.group import Group
from graphdet.train.optim import Average, optimiser_of, set_rates
from graphdet.train.recipe import Recipe
from graphdet.train.schedule import Clock
from graphdet.train.start import freeze

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SMALLEST_SCALE = 2.0**-14  # a loss scale below it means that every step overflows


@dataclass
class Training:
    """The state of a run, as watchers see it.

    steps: all there are · per_epoch: steps an epoch · step: steps done · losses: the terms of the last step, late ones
    too before they count · loss: what was minimised · lr: learning rate of the last step · norm: gradient norm before
    clipping · result: figures of the last evaluation · best: largest value of the figure that the recipe chooses by.
    """

    recipe: Recipe
    out: Path
    variant: Variant
    steps: int
    per_epoch: float
    group: Group = field(default_factory=Group)
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    loss: float = 0.0
    lr: float = 0.0
    norm: float = 0.0
    result: CocoResult | None = None
    best: float = -1.0

    def __post_init__(self) -> None:
        recipe = self.recipe
        graph = trace(self.variant, "train")
        self.inputs = {name.replace(".", "_") for name in graph.inputs}
        self.proposals = most_proposals(graph)
        self.late = late_losses(self.variant)
        module = to_module(graph, initial_values(graph, recipe.seed)).train()
        freeze_norms(module, (*recipe.freeze, *recipe.freeze_norms))
        freeze(module, recipe.freeze)
        if self.group.world > 1 and recipe.sync_norms:
            synchronise_norms(module)
        self.module = faster(module, self.group.device)
        self.parallel: Any = self.module
        if self.group.world > 1:
            self.parallel = torch.nn.parallel.DistributedDataParallel(self.module, broadcast_buffers=False)
        self.trainable = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self.optimiser = optimiser_of(self.module, recipe.optimiser)
        self.scaler = torch.amp.GradScaler(self.group.device.type, enabled=recipe.precision == "fp16")
        self.average = Average(self.module, recipe.average) if recipe.average else None
        self.base = recipe.optimiser.lr * (recipe.batch / recipe.base_batch if recipe.base_batch else 1.0)

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.step / self.per_epoch

    @property
    def late_from(self) -> int:
        """The step from which on late losses count and late transforms are used."""
        return math.ceil(self.recipe.late_from * self.steps)

    @property
    def late_active(self) -> bool:
        """Whether the late losses count in the coming step."""
        return self.step >= self.late_from

    def advance(self, parts: Sequence[Inputs]) -> None:
        """Do one step. Raises Diverged before the weights change, if a loss or a gradient is not finite."""
        recipe, warmup = self.recipe, self.recipe.warmup.length(self.per_epoch)
        clock = Clock(self.step, self.steps, self.per_epoch, warmup)
        self.lr = set_rates(self.optimiser, recipe.optimiser, self.base, recipe.schedule, recipe.warmup, clock)
        self.optimiser.zero_grad(set_to_none=True)
        self.losses, self.loss = {}, 0.0
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            with contextlib.nullcontext() if last or self.group.world == 1 else self.parallel.no_sync():
                self._backward(part, 1 / len(parts))
        self.losses = self.group.mean(self.losses)
        self.loss = self.group.mean({"loss": self.loss})["loss"]
        self.scaler.unscale_(self.optimiser)
        limit = recipe.clip or math.inf
        self.norm = float(torch.nn.utils.clip_grad_norm_(self.trainable.values(), limit))
        if not math.isfinite(self.norm):
            self._overflow()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.module)
        self.step += 1

    def _backward(self, part: Inputs, share: float) -> None:
        given = self.tensors(part)
        precise = self.recipe.precision == "fp32"
        with torch.autocast(self.group.device.type, _DTYPES[self.recipe.precision], enabled=not precise):
            terms = self.parallel(**given)
        for name, term in terms.items():
            self.losses[name] = self.losses.get(name, 0.0) + share * float(term.detach())
        active = [term.float() for name, term in terms.items() if name not in self.late or self.late_active]
        loss = torch.stack(active).sum() * share
        self._check_losses(given)
        # A term that is only logged keeps its parameters in the graph, so that all processes reduce the same ones.
        idle = sum(0.0 * term.float() for name, term in terms.items() if name in self.late and not self.late_active)
        torch.autograd.backward(self.scaler.scale(loss + (idle if self.group.world > 1 else 0.0)))
        self.loss += float(loss.detach())

    def tensors(self, part: Inputs) -> dict[str, Any]:
        """What the module takes of a part's inputs, on its device."""
        given = {**part, "sampling_seed": np.asarray(self.step + 1, np.float32)}  # 0 would sample the first anchors
        device = self.group.device
        tensors = {k: torch.from_numpy(v).to(device) for k, v in given.items() if k in self.inputs}
        return {k: v.contiguous(memory_format=torch.channels_last) if k == "pixels" else v for k, v in tensors.items()}

    def _check_losses(self, given: dict[str, Any]) -> None:
        bad = [name for name, value in self.losses.items() if not math.isfinite(value)]
        if bad:
            origin = first_bad(self.module, given)
            self._diverged("loss term", self.losses, f"; first not finite: {origin}" if origin else "")

    def _overflow(self) -> None:
        """A gradient that is not finite: with a loss scale a smaller scale may help, otherwise nothing does."""
        if self.scaler.is_enabled() and self.scaler.get_scale() > _SMALLEST_SCALE:
            return
        self._diverged(
            "gradient of", {n: float(p.grad.norm()) for n, p in self.trainable.items() if p.grad is not None}
        )

    def _diverged(self, what: str, values: Mapping[str, float], origin: str = "") -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        shown = f"{bad[0]} is {values[bad[0]]}" + (f", and {len(bad) - 1} more are not finite" if bad[1:] else "")
        text = f"step {self.step + 1}: {what} {shown}{origin}"
        raise Diverged(text, help="lower optimiser.lr, or a longer warmup; then --resume")

    def averaged(self) -> dict[str, Array]:
        """The weights that training is for: averaged where the recipe says so."""
        return _arrays(self.average.values if self.average is not None else self.module.state_dict())

    def snapshot(self) -> checkpoint.Checkpoint:
        """All state, to be saved."""
        state = {
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generator": torch.get_rng_state(),
            "updates": self.average.updates if self.average is not None else 0,
            "best": self.best,
        }
        weights = _arrays(self.module.state_dict())
        averaged = self.averaged() if self.average is not None else {}
        return checkpoint.Checkpoint(self.recipe.as_dict(), self.step, weights, averaged, state)

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go back to a saved state. Raises BadRecipe if that is of a run with other results."""
        changed = self.recipe.differences(saved.recipe)
        if changed:
            text = f"the run in {str(self.out)!r} has another recipe: {'; '.join(changed)}"
            raise BadRecipe(text, help="train in another folder")
        load_weights(self.module, saved.weights)
        self.optimiser.load_state_dict(saved.state["optimiser"])
        self.scaler.load_state_dict(saved.state["scaler"])
        torch.set_rng_state(saved.state["generator"])
        if self.average is not None:
            for name, value in self.average.values.items():
                value.copy_(torch.from_numpy(np.array(saved.averaged[name])))
            self.average.updates = int(saved.state["updates"])
        self.best, self.step = float(saved.state["best"]), saved.step


def _arrays(values: Mapping[str, Any]) -> dict[str, Array]:
    return {n: np.array(v.detach().cpu().contiguous().numpy(), order="C") for n, v in values.items()}
