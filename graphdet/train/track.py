"""Trackers of experiments: TensorBoard, Weights & Biases, MLflow, each through its own package."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from graphdet.errors import BackendMissing, BadRecipe, nearest
from graphdet.train.report import peak_memory

if TYPE_CHECKING:
    from graphdet.train.recipe import Recipe
    from graphdet.train.state import Training


class Tracker(Protocol):
    """Takes numbers by name and step."""

    def step(self, run: Training) -> None:
        """Numbers of the step that was just done."""

    def evaluated(self, run: Training) -> None:
        """Figures of an evaluation."""

    def close(self) -> None:
        """Write what is left."""


def trackers(recipe: Recipe, out: Path) -> list[Tracker]:
    """The recipe's trackers. Raises BadRecipe for an unknown name, BackendMissing where the package is absent."""
    found: list[Tracker] = []
    for name in recipe.track:
        if name not in _KINDS:
            raise BadRecipe(f"track: {name!r} is unknown", help=nearest(name, _KINDS) or ", ".join(_KINDS))
        package, module, make = _KINDS[name]
        try:
            library = importlib.import_module(module)
        except ImportError:
            raise BackendMissing(f"{name} is not installed", help=f"pip install {package}") from None
        found.append(_Numbers(*make(library, recipe, out)))
    return found


Write = Callable[[Mapping[str, float], int], None]


class _Numbers:
    def __init__(self, write: Write, close: Callable[[], None]) -> None:
        self._write, self.close = write, close

    def step(self, run: Training) -> None:
        terms = {f"loss/{name}": value for name, value in run.losses.items()}
        facts = {"lr": run.lr, "norm": run.norm, "memory": peak_memory(run.group.device)}
        self._write({**terms, "loss/all": run.loss, **{f"train/{k}": v for k, v in facts.items()}}, run.step)

    def evaluated(self, run: Training) -> None:
        assert run.result is not None, "the moment says that there was one"
        self._write({f"held_out/{k}": v for k, v in run.result.named().items() if v >= 0}, run.step)


def _tensorboard(library: Any, recipe: Recipe, out: Path) -> tuple[Write, Callable[[], None]]:
    writer = library.SummaryWriter(str(out / "tensorboard"))

    def write(numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    return write, writer.close


def _wandb(library: Any, recipe: Recipe, out: Path) -> tuple[Write, Callable[[], None]]:
    run = library.init(dir=str(out), name=out.name, config=recipe.as_dict(), resume="allow", id=out.name)
    return lambda numbers, step: run.log(dict(numbers), step=step), run.finish


def _mlflow(library: Any, recipe: Recipe, out: Path) -> tuple[Write, Callable[[], None]]:
    library.start_run(run_name=out.name)
    library.log_dict(recipe.as_dict(), "recipe.json")
    return lambda numbers, step: library.log_metrics(dict(numbers), step=step), library.end_run


_KINDS: Mapping[str, tuple[str, str, Callable[[Any, Recipe, Path], tuple[Write, Callable[[], None]]]]] = {
    "tensorboard": ("tensorboard", "torch.utils.tensorboard", _tensorboard),
    "wandb": ("wandb", "wandb", _wandb),
    "mlflow": ("mlflow", "mlflow", _mlflow),
}
