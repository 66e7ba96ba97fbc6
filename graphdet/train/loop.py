"""The training loop: a fixed list of moments at which plain callables are called, atomic checkpoints, exact resume."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from graphdet import zoo
from graphdet.compiler.backends.torch import load_weights, to_module
from graphdet.data import Dataset, parse_data
from graphdet.errors import BadRecipe, Diverged, UnknownName, nearest
from graphdet.eval import CocoResult
from graphdet.ir import trace
from graphdet.ir.detector import late_losses
from graphdet.ir.initial import initial_values
from graphdet.records import Array
from graphdet.train import checkpoint
from graphdet.train.augment import Flip, Jitter, Rescale, Transform
from graphdet.train.batch import Batches, Remembered, prefetched
from graphdet.train.evaluate import evaluate_weights
from graphdet.train.optim import Ema, learning_rate, optimiser_of
from graphdet.train.recipe import Recipe
from graphdet.train.report import Journal, progress_bar

Moment = Literal["start", "before_step", "after_step", "evaluated", "saved", "end"]
Watcher = Callable[["Training"], None]
MOMENTS: tuple[Moment, ...] = get_args(Moment)


@dataclass(frozen=True)
class Outcome:
    """What a run left: the file of the averaged weights, the last figures, and whether all steps were done."""

    weights: Path
    step: int
    result: CocoResult | None = None
    complete: bool = True


@dataclass
class Training:
    """The state of a run, as watchers see it.

    step: steps done · losses: the terms of the last step, late ones too before they count · loss: what was minimised ·
    lr: learning rate of the last step · norm: gradient norm before clipping · result: figures of the last evaluation.
    """

    recipe: Recipe
    out: Path
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    loss: float = 0.0
    lr: float = 0.0
    norm: float = 0.0
    result: CocoResult | None = None

    def __post_init__(self) -> None:
        self.variant = zoo.get(self.recipe.detector)
        graph = trace(self.variant, "train")
        self.inputs = {name.replace(".", "_") for name in graph.inputs}
        self.late = late_losses(self.variant)
        self.module = to_module(graph, initial_values(graph, self.recipe.seed)).train()
        self.optimiser = optimiser_of(self.module, self.recipe)
        self.ema = Ema(self.module, self.recipe.ema)
        self.trainable = {n: p for n, p in self.module.named_parameters() if p.requires_grad}

    def advance(self, inputs: Mapping[str, Array]) -> None:
        """Do one step. Raises Diverged before the weights change, if a loss or a gradient is not finite."""
        self.lr = learning_rate(self.recipe, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr
        given = {**inputs, "sampling_seed": np.asarray(self.step + 1, np.float32)}  # 0 would sample the first anchors
        terms = self.module(**{k: torch.from_numpy(v) for k, v in given.items() if k in self.inputs})
        self.losses = {name: float(term.detach()) for name, term in terms.items()}
        self._check("loss term", self.losses)
        active = [term for name, term in terms.items() if name not in self.late or self.late_active]
        loss = torch.stack(active).sum()
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.trainable.values(), self.recipe.clip)
        self.loss, self.norm = float(loss.detach()), float(norm)
        if not math.isfinite(self.norm):
            norms = {n: float(p.grad.norm()) for n, p in self.trainable.items() if p.grad is not None}
            self._check("gradient of", norms)
        self.optimiser.step()
        self.ema.update(self.module)
        self.step += 1

    @property
    def late_active(self) -> bool:
        """Whether the late losses count in the coming step."""
        return self.step >= self.recipe.l1_from * self.recipe.steps

    def _check(self, what: str, values: Mapping[str, float]) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            shown = f"{bad[0]} is {values[bad[0]]}" + (f", and {len(bad) - 1} more are not finite" if bad[1:] else "")
            raise Diverged(f"step {self.step + 1}: {what} {shown}", help="lower lr, or a longer warmup; then --resume")

    def averaged(self) -> dict[str, Array]:
        """The averaged weights, which are what training is for."""
        return {name: value.numpy().copy() for name, value in self.ema.values.items()}

    def snapshot(self) -> checkpoint.Checkpoint:
        """All state, to be saved."""
        state = {
            "optimiser": self.optimiser.state_dict(),
            "generator": torch.get_rng_state(),
            "ema_updates": self.ema.updates,
        }
        weights = {name: value.numpy() for name, value in self.module.state_dict().items()}
        return checkpoint.Checkpoint(self.recipe, self.step, weights, self.averaged(), state)

    def restore(self, saved: checkpoint.Checkpoint) -> None:
        """Go back to a saved state. Raises BadRecipe if that is of a run with other results."""
        changed = saved.recipe.differences(self.recipe)
        if changed:
            text = f"the run in {str(self.out)!r} has another recipe: {'; '.join(changed)}"
            raise BadRecipe(text, help="train in another folder")
        load_weights(self.module, saved.weights)
        self.optimiser.load_state_dict(saved.state["optimiser"])
        torch.set_rng_state(saved.state["generator"])
        self.ema.values = {name: torch.from_numpy(np.array(saved.ema[name])) for name in self.ema.values}
        self.ema.updates, self.step = int(saved.state["ema_updates"]), saved.step


def train(
    recipe: Recipe,
    out: str | PathLike[str],
    *,
    resume: bool = False,
    progress: bool | None = None,
    at: Mapping[Moment, Sequence[Watcher]] | None = None,
) -> Outcome:
    """Train a detector; leaves `OUT/weights.safetensors` (averaged), `OUT/log.jsonl` and `OUT/checkpoints`.

    Args:
        recipe: what to do.
        out: folder of the run.
        resume: go on from the newest checkpoint in `out`.
        progress: a progress bar on stderr; None shows it when stderr is a terminal.
        at: callables for the moments `start`, `before_step`, `after_step`, `evaluated`, `saved`, `end`; each gets the
            `Training`.

    Returns:
        The outcome. When interrupted (Ctrl-C, SIGTERM) the step under way is finished and saved, `complete` is False,
        and a note on stderr says how to resume.

    Raises:
        BadRecipe: the folder holds another run, or, without `resume`, any.
        Diverged: a loss term or gradient is not finite; the last checkpoint is intact.
        UnknownName, BadDataset, MissingFile: of the recipe's names.
    """
    for name in at or {}:
        if name not in MOMENTS:
            raise UnknownName(f"training has no moment {name!r}", help=nearest(name, MOMENTS) or ", ".join(MOMENTS))
    torch.set_num_threads(recipe.threads)
    data, held_out = parse_data(recipe.data), parse_data(recipe.held_out) if recipe.held_out else None
    run = Training(recipe, Path(out))
    _check_classes(run, data)
    if resume:
        run.restore(checkpoint.load(run.out))
    elif (run.out / "checkpoints").exists():
        raise BadRecipe(f"{str(run.out)!r} holds a run already", help="resume it (--resume), or choose another folder")
    run.out.mkdir(parents=True, exist_ok=True)
    return _Loop(run, data, held_out, at or {}, progress).go()


def _check_classes(run: Training, data: Dataset) -> None:
    expected = run.variant.row.classes
    if expected and data.classes != expected:
        raise BadRecipe(
            f"the data has the classes {', '.join(data.classes[:8])}; {run.variant.name} has {', '.join(expected[:8])}",
            help="train on a dataset of the detector's classes",
        )


@dataclass
class _Loop:
    run: Training
    data: Dataset
    held_out: Dataset | None
    at: Mapping[Moment, Sequence[Watcher]]
    progress: bool | None
    stopped: bool = False
    saved_at: int = -1

    def go(self) -> Outcome:
        run, recipe = self.run, self.run.recipe
        with ExitStack() as stack:
            journal = stack.enter_context(Journal(run.out / "log.jsonl", run.step))
            bar = stack.enter_context(progress_bar(recipe.steps, self.progress))
            self.own: dict[Moment, tuple[Watcher, ...]] = {
                "after_step": (journal.step, bar),
                "evaluated": (journal.evaluated,),
            }
            remembered = Remembered(self.data, recipe.cache_mb << 20)
            batches = Batches(remembered, run.variant.preprocess, recipe.batch, recipe.seed, transforms_of(recipe))
            stream = stack.enter_context(prefetched(batches, run.step, recipe.workers))
            stack.enter_context(self._interruptible())
            self._call("start")
            while run.step < recipe.steps and not self.stopped:
                self._call("before_step")
                run.advance(next(stream))
                self._call("after_step")
                self._due()
            return self._finish()

    def _due(self) -> None:
        run, recipe = self.run, self.run.recipe
        last = run.step == recipe.steps
        if self.held_out is not None and not self.stopped and (last or run.step % recipe.evaluate_every == 0):
            run.result = evaluate_weights(run.variant, run.averaged(), self.held_out)
            self._call("evaluated")
        if last or run.step % recipe.save_every == 0:
            self._save()

    def _finish(self) -> Outcome:
        run = self.run
        if self.saved_at != run.step:
            self._save()
        complete = run.step == run.recipe.steps
        if not complete:
            print(f"interrupted after step {run.step}; resume with the same options and --resume", file=sys.stderr)
        path = run.out / "weights.safetensors"
        checkpoint.write_result(path, run.averaged(), _facts(run))
        self._call("end")
        return Outcome(path, run.step, run.result, complete)

    def _save(self) -> None:
        checkpoint.save(self.run.out, self.run.snapshot())
        self.saved_at = self.run.step
        self._call("saved")

    def _call(self, moment: Moment) -> None:
        for watcher in (*self.own.get(moment, ()), *self.at.get(moment, ())):
            watcher(self.run)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """The first signal lets the step under way finish; a second one acts as it always does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, frame: Any) -> None:
            self.stopped = True
            signal.signal(number, before[signal.Signals(number)])

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def transforms_of(recipe: Recipe) -> tuple[Transform, ...]:
    """The recipe's augmentations."""
    return (Rescale(recipe.rescale), Flip(recipe.flip, recipe.flip), Jitter(recipe.jitter))


def _facts(run: Training) -> dict[str, str]:
    """Metadata of the resulting weights."""
    facts = {"detector": run.variant.name, "step": str(run.step), "recipe": json.dumps(run.recipe.as_dict())}
    facts["classes"] = json.dumps(list(run.variant.row.classes))
    if run.result is not None:
        facts["figures"] = json.dumps({k: round(v, 4) for k, v in run.result.figures().items()})
    return facts
