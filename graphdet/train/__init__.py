"""Training: a recipe in, weights out. `train` needs the package's `train` extra (PyTorch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from graphdet.errors import BackendMissing
from graphdet.train.recipe import Recipe

if TYPE_CHECKING:
    from graphdet.train.loop import Moment, Outcome, Resume, Watcher


def train(
    recipe: Recipe,
    out: str | PathLike[str],
    *,
    resume: Resume = False,
    progress: bool | None = None,
    at: Mapping[Moment, Sequence[Watcher]] | None = None,
) -> Outcome:
    """Train a detector; see `graphdet.train.loop.train`. Raises BackendMissing where PyTorch is not installed."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise BackendMissing("training needs PyTorch", help="pip install 'graphdet[train]'") from None
    from graphdet.train import loop

    return loop.train(recipe, out, resume=resume, progress=progress, at=at)


__all__ = ["Recipe", "train"]
