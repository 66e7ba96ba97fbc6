"""What a training run is: everything that decides its result, in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from graphdet.data import transforms as known_transforms
from graphdet.data.order import Balanced, ClassAware, Shuffled
from graphdet.data.transforms import Change
from graphdet.errors import BadRecipe
from graphdet.train.plain import Kinds, changed, from_plain, to_plain
from graphdet.train.schedule import Cosine, Schedule, Warmup

_LEAST = {
    **{"batch": 1, "accumulate": 1, "resize_every": 1, "keep": 1, "threads": 1, "workers": 1},
    **{"steps": 0, "base_batch": 0, "seed": 0, "cache_mb": 0, "save_every": 0, "evaluate_every": 0},
}
_COMFORT = (
    "threads",
    "workers",
    "loader",
    "save_every",
    "evaluate_every",
    "cache_mb",
    "keep",
    "track",
    "device",
    "patience",
)


@dataclass(frozen=True)
class Rule:
    """Parameters whose name the regular expression `match` is found in: factors of learning rate and weight decay."""

    match: str
    lr: float = 1.0
    decay: float = 1.0


@dataclass(frozen=True)
class Optimiser:
    """How weights move.

    name: a class of `torch.optim` · options: its further arguments · norm_decay, bias_decay: factors of the weight
    decay for norms and for other biases · bias_lr: factor of the learning rate of those biases · rules: further
    factors by name, multiplied · layer_decay: factor of the learning rate for every stage of the backbone, from its
    last stage backwards.
    """

    name: str = "SGD"
    lr: float = 0.01
    weight_decay: float = 1e-4
    options: Mapping[str, Any] = field(default_factory=lambda: {"momentum": 0.9})
    norm_decay: float = 1.0
    bias_decay: float = 1.0
    bias_lr: float = 1.0
    rules: tuple[Rule, ...] = ()
    layer_decay: float = 1.0


@dataclass(frozen=True)
class Exponential:
    """Averaged weights: a <- (1 - m) a + m w after every step, with m = momentum + (1 - momentum) exp(-step / ramp)."""

    momentum: float = 0.0002
    ramp: float = 2000.0

    def rate(self, step: int) -> float:
        """M after so many steps."""
        import math

        return self.momentum + (1 - self.momentum) * math.exp(-step / self.ramp)


@dataclass(frozen=True)
class Linear:
    """Averaged weights with m = max(momentum, warmup / (warmup + step)) (approximately: 1 at first, then falling)."""

    momentum: float = 0.0002
    warmup: int = 100

    def rate(self, step: int) -> float:
        """M after so many steps: 1 - min(1 - momentum, (1 + step) / (warmup + step))."""
        return 1 - min(1 - self.momentum, (1 + step) / (self.warmup + step))


@dataclass(frozen=True)
class Recipe:
    """A training run. Equal recipes with equal `threads` on one machine give equal weights, interrupted or not.

    - detector: a variant of the zoo · data, held_out: datasets as `parse_data` reads them; the second is evaluated.
    - weights: file to start from; what does not fit (the head, for other classes) is initialised anew and named ·
      refit_norms: images by which folded batch norms of those weights are estimated again (0: they stay folded).
    - freeze: regular expressions; parameters whose name one is found at the start of do not move, nor do their norms ·
      freeze_norms: such expressions for norms that keep their stored statistics.
    - epochs, or else steps when > 0: length · batch: images of an optimiser step, all processes together · accumulate:
      parts in which a process works through its share of a batch · base_batch: when > 0, the batch that `optimiser.lr`
      is meant for; the rate grows in proportion.
    - optimiser, warmup, schedule; clip: largest norm of the gradient, 0 for none · average: of the weights; the average
      is the result · precision: of the forward pass.
    - transforms, late_transforms: changes of samples, before and after the share `late_from` of the run, when the
      detector's late losses join too; None: the same · sampling: order of images · sizes: (height, width) of the
      network's target area, drawn anew every `resize_every` steps; none: the detector's own · seed.
    - threads: of PyTorch · workers: how many prepare batches · loader: `threads`, or `processes` of their own, for
      transforms that hold Python's lock · cache_mb: decoded images kept in memory (by each such process) ·
      save_every, evaluate_every: in steps, 0 for once an epoch · keep: newest checkpoints · best_by: figure that
      chooses best.safetensors · track: `tensorboard`, `wandb`, `mlflow` · device: `cpu`, `cuda`, or `""` for either ·
      sync_norms: batch norms see the batches of all processes · patience: minutes that a process waits for another.

    Raises BadRecipe for a value out of range.
    """

    detector: str
    data: str
    held_out: str = ""
    weights: str = ""
    refit_norms: int = 256
    freeze: tuple[str, ...] = ()
    freeze_norms: tuple[str, ...] = ()
    epochs: float = 12.0
    steps: int = 0
    batch: int = 16
    accumulate: int = 1
    base_batch: int = 0
    optimiser: Optimiser = field(default_factory=Optimiser)
    warmup: Warmup = field(default_factory=lambda: Warmup(steps=500))
    schedule: Schedule = field(default_factory=Cosine)
    clip: float = 0.0
    average: Exponential | Linear | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    transforms: tuple[Change, ...] = ()
    late_transforms: tuple[Change, ...] | None = None
    late_from: float = 1.0
    sampling: Shuffled | Balanced | ClassAware = field(default_factory=Shuffled)
    sizes: tuple[tuple[int, int], ...] = ()
    resize_every: int = 10
    seed: int = 0
    threads: int = 2
    workers: int = 1
    loader: Literal["threads", "processes"] = "threads"
    cache_mb: int = 2048
    save_every: int = 0
    evaluate_every: int = 0
    keep: int = 1
    best_by: str = "AP"
    track: tuple[str, ...] = ()
    device: str = ""
    sync_norms: bool = True
    patience: float = 30.0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise BadRecipe(f"{name} = {value!r}, expected a whole number of at least {least}")
        if self.patience <= 0:
            raise BadRecipe(f"patience = {self.patience!r}, expected minutes, more than 0")
        if self.epochs <= 0 or self.optimiser.lr <= 0 or self.clip < 0 or self.optimiser.weight_decay < 0:
            found = f"epochs {self.epochs}, lr {self.optimiser.lr}, clip {self.clip}"
            raise BadRecipe(f"{found}, weight_decay {self.optimiser.weight_decay}: expected positive numbers")
        if not 0 <= self.late_from <= 1:
            raise BadRecipe(f"late_from = {self.late_from!r}, expected 0 to 1, a share of the run")
        if self.batch % self.accumulate:
            raise BadRecipe(f"batch {self.batch} cannot be done in {self.accumulate} equal parts (accumulate)")

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; `Recipe.from_dict` reads it back."""
        return {f.name: to_plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Read the form that `as_dict` writes. Raises BadRecipe for an unknown or missing name, or a wrong type."""
        recipe: Recipe = from_plain(cls, values, KINDS)
        return recipe

    def with_fields(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with fields changed by dotted names: `{"optimiser.lr": 0.02, "schedule.kind": "Step"}`."""
        data = self.as_dict()
        for name, value in values.items():
            data = changed(data, name, to_plain(value))
        return Recipe.from_dict(data)

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """What results would differ by since a recipe's plain form: `optimiser.lr: 0.002 -> 0.001`."""
        mine = self.as_dict()
        names = [name for name in {**before, **mine} if name not in _COMFORT]
        return [line for name in names for line in _differing(name, before.get(name), mine.get(name))]


def _differing(name: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        return [line for key in before for line in _differing(f"{name}.{key}", before[key], now[key])]
    return [] if before == now else [f"{name}: {before} -> {now}"]


KINDS: Kinds = {Change: known_transforms.ALL}
