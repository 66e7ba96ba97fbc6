"""The training loop: a fixed list of moments at which plain callables are called, atomic checkpoints, exact resume."""

from __future__ import annotations

import itertools
import json
import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from graphdet.compiler.backends.torch.norms import refit_norms
from graphdet.data import Dataset, parse_data
from graphdet.data.order import Order
from graphdet.data.proposals import required
from graphdet.errors import BadRecipe, UnknownName, nearest
from graphdet.eval import CocoResult
from graphdet.train import checkpoint
from graphdet.train.batch import Batches, Plan, Remembered, prefetched
from graphdet.train.evaluate import evaluate_weights
from graphdet.train.group import Group, joined_group
from graphdet.train.recipe import Recipe
from graphdet.train.report import Journal, progress_bar
from graphdet.train.start import check_held_out, start_from, variant_for
from graphdet.train.state import Training
from graphdet.train.track import trackers

Moment = Literal["start", "before_step", "after_step", "evaluated", "saved", "end"]
Watcher = Callable[[Training], None]
Resume = bool | Literal["auto"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)


@dataclass(frozen=True)
class Outcome:
    """What a run left: the file of the weights, the last figures, and whether all steps were done."""

    weights: Path
    step: int
    result: CocoResult | None = None
    complete: bool = True


def train(
    recipe: Recipe,
    out: str | PathLike[str],
    *,
    resume: Resume = False,
    progress: bool | None = None,
    at: Mapping[Moment, Sequence[Watcher]] | None = None,
) -> Outcome:
    """Train a detector; leaves `weights.safetensors`, `best.safetensors`, `log.jsonl` and `checkpoints` in OUT.

    Started by torchrun, its processes train together.

    Args:
        recipe: what to do.
        out: folder of the run.
        resume: go on from the newest checkpoint in `out`; `auto`: where there is one, else start.
        progress: a progress bar on stderr; None shows it when stderr is a terminal.
        at: callables for the moments `start`, `before_step`, `after_step`, `evaluated`, `saved`, `end`; each gets the
            `Training`.

    Returns:
        The outcome. When interrupted (Ctrl-C, SIGTERM) the step under way is finished and saved, `complete` is False,
        and a note on stderr says how to resume.

    Raises:
        BadRecipe: the folder holds another run, or, without `resume`, any; or the recipe does not fit the data.
        Diverged: a loss term or gradient is not finite; the last checkpoint is intact.
        LostProcess: another process hangs or has ended.
        UnknownName, BadDataset, BadWeights, MissingFile: of the recipe's names.
    """
    for name in at or {}:
        if name not in MOMENTS:
            raise UnknownName(f"training has no moment {name!r}", help=nearest(name, MOMENTS) or ", ".join(MOMENTS))
    torch.set_num_threads(recipe.threads)
    out = Path(out)
    there = (out / "checkpoints").exists()
    if there and not resume:
        raise BadRecipe(f"{str(out)!r} holds a run already", help="resume it (--resume), or choose another folder")
    with joined_group(recipe.device, recipe.patience) as group:
        setup = Setup.of(recipe, out, group)
        if resume is True or (resume == "auto" and checkpoint.exists(out)):
            setup.run.restore(checkpoint.load(out))
        elif recipe.weights:
            setup.start()
        out.mkdir(parents=True, exist_ok=True)
        return _Loop(setup, at or {}, progress).go()


@dataclass
class Setup:
    """A run with the data that it learns from."""

    run: Training
    batches: Batches
    held_out: Dataset | None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, recipe: Recipe, out: Path, group: Group) -> Setup:
        """Open the data and make the detector for its classes."""
        if recipe.batch % (group.world * recipe.accumulate):
            shares = f"{group.world} processes x {recipe.accumulate} parts"
            raise BadRecipe(f"batch {recipe.batch} cannot be shared equally by {shares}")
        data, held_out = parse_data(recipe.data), parse_data(recipe.held_out) if recipe.held_out else None
        if held_out is not None:
            check_held_out(data, held_out)
        variant = variant_for(recipe.detector, data)
        remembered = Remembered(data, recipe.cache_mb << 20)
        if not len(data):
            raise BadRecipe("the dataset for training has no images")
        order = Order(recipe.sampling, data, recipe.seed)
        per_epoch = order.length / recipe.batch
        steps = recipe.steps or max(1, math.ceil(recipe.epochs * per_epoch))
        run = Training(recipe, out, variant, steps, per_epoch, group)
        late = recipe.transforms if recipe.late_transforms is None else recipe.late_transforms
        plan = Plan(recipe.transforms, late, run.late_from, recipe.sizes, recipe.resize_every)
        shard = (group.rank, group.world)
        masks = "truth_masks" in run.inputs
        if run.proposals:
            for samples in filter(None, (data, held_out)):
                required(samples.sample(0))
        batches = Batches(
            *(remembered, variant.preprocess, recipe.batch, recipe.seed, plan, order, recipe.accumulate, shard),
            masks=masks, proposals=run.proposals,
        )  # fmt: skip
        return cls(run, batches, held_out)

    def start(self) -> None:
        """Take the recipe's weights, and set up folded norms anew."""
        run, recipe = self.run, self.run.recipe
        taken = start_from(run.module, run.variant, recipe.weights)
        self.notes.append(str(taken))
        if not recipe.refit_norms:
            return
        plain = replace(self.batches, plan=Plan(), order=None, parts=1, shard=(0, 1))
        parts = itertools.chain.from_iterable(map(plain, range(-(-recipe.refit_norms // recipe.batch))))
        count = refit_norms(run.module, (run.tensors(part) for part in parts))
        if count:
            self.notes.append(f"{count} folded batch norms estimated anew from {recipe.refit_norms} images")
        if run.average is not None:
            run.average.reset(run.module)


@dataclass
class _Loop:
    setup: Setup
    at: Mapping[Moment, Sequence[Watcher]]
    progress: bool | None
    stopped: bool = False
    saved_at: int = -1

    @property
    def run(self) -> Training:
        return self.setup.run

    def go(self) -> Outcome:
        run, recipe = self.run, self.run.recipe
        with ExitStack() as stack:
            self.own: dict[Moment, list[Watcher]] = {}
            if run.group.first:
                journal = stack.enter_context(Journal(run.out / "log.jsonl", run.step))
                bar = stack.enter_context(progress_bar(run.steps, self.progress))
                self.own = {"after_step": [journal.step, bar], "evaluated": [journal.evaluated]}
                for tracker in trackers(recipe, run.out):
                    stack.callback(tracker.close)
                    self.own["after_step"].append(tracker.step)
                    self.own["evaluated"].append(tracker.evaluated)
                for note in self.setup.notes:
                    journal.note(note)
                    print(note, file=sys.stderr)
            stream = stack.enter_context(
                prefetched(self.setup.batches, run.step, recipe.workers, processes=recipe.loader == "processes")
            )
            stack.enter_context(self._interruptible())
            self._call("start")
            while run.step < run.steps and not self.stopped:
                self._call("before_step")
                parts = next(stream)
                run.group.begin(run.step + 1)
                run.advance(parts)
                self._call("after_step")
                self.stopped = run.group.any(self.stopped)
                self._due()
            return self._finish()

    def _due(self) -> None:
        run, recipe = self.run, self.run.recipe
        last, epoch = run.step == run.steps, max(1, round(run.per_epoch))
        due = last or run.step % (recipe.evaluate_every or epoch) == 0
        if self.setup.held_out is not None and due and not self.stopped:
            self._evaluate(self.setup.held_out)
        if last or run.step % (recipe.save_every or epoch) == 0:
            self._save()

    def _evaluate(self, held_out: Dataset) -> None:
        run = self.run
        weights = run.averaged()
        run.result = evaluate_weights(run.variant, weights, held_out, group=run.group)
        value = checkpoint.figure(run.result.named(), run.recipe.best_by)
        if value > run.best:
            run.best = value
            if run.group.first:
                checkpoint.write_result(run.out / "best.safetensors", weights, _facts(run))
        self._call("evaluated")

    def _finish(self) -> Outcome:
        run = self.run
        if self.saved_at != run.step:
            self._save()
        complete = run.step == run.steps
        path = run.out / "weights.safetensors"
        if run.group.first:
            if not complete:
                print(f"interrupted after step {run.step}; resume with the same options and --resume", file=sys.stderr)
            checkpoint.write_result(path, run.averaged(), _facts(run))
        self._call("end")
        return Outcome(path, run.step, run.result, complete)

    def _save(self) -> None:
        if self.run.group.first:
            checkpoint.save(self.run.out, self.run.snapshot(), self.run.recipe.keep)
        self.run.group.wait()
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


def _facts(run: Training) -> dict[str, str]:
    """Metadata of the resulting weights."""
    facts = {"detector": run.variant.name, "step": str(run.step), "recipe": json.dumps(run.recipe.as_dict())}
    facts["classes"] = json.dumps(list(run.variant.row.classes))
    if "num_classes" in run.variant.row.arguments:
        facts["num_classes"] = str(run.variant.row.arguments["num_classes"])
    if run.result is not None:
        facts["figures"] = json.dumps({k: round(v, 4) for k, v in run.result.named().items()})
    return facts
