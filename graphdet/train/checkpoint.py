"""Checkpoints: a folder a step, complete or absent, and the newest of them.

`OUT/checkpoints/step-00000500/` holds `weights.safetensors`, `averaged.safetensors`, `recipe.json` and `state.pt`
(optimiser, generator and counters; read as plain data, never as code).
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphdet.errors import BadRecipe, BadWeights, MissingFile, nearest
from graphdet.importers import read_weights, write_safetensors
from graphdet.records import Array

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped. `state` holds tensors, numbers and lists of them."""

    recipe: dict[str, Any]
    step: int
    weights: Mapping[str, Array]
    averaged: Mapping[str, Array]
    state: dict[str, Any]


def save(out: Path, checkpoint: Checkpoint, keep: int = 1) -> Path:
    """Write a checkpoint and remove older ones, so that `keep` remain.

    A crash leaves the older ones or the new one whole.
    """
    home = out / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    final = home / f"step-{checkpoint.step:08d}"
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=home))
    try:
        write_safetensors(partial / "weights.safetensors", checkpoint.weights)
        write_safetensors(partial / "averaged.safetensors", checkpoint.averaged)
        (partial / "recipe.json").write_text(json.dumps(checkpoint.recipe, indent=1), encoding="utf-8")
        with (partial / "state.pt").open("wb") as file:
            torch.save(checkpoint.state, file)
            file.flush()
            os.fsync(file.fileno())
        if final.exists():  # of the same step and recipe: the run was resumed and stopped at once
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    others = [folder for folder in _folders(out) if folder != final]
    for other in others[: max(0, len(others) - keep + 1)]:
        shutil.rmtree(other, ignore_errors=True)
    return final


def load(out: Path) -> Checkpoint:
    """The newest checkpoint of a run. Raises MissingFile where there is none, BadWeights where it is damaged."""
    folders = _folders(out)
    if not folders:
        raise MissingFile(f"{str(out)!r} holds no checkpoint to resume from", help="start without --resume")
    folder = folders[-1]
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        state = torch.load(folder / "state.pt", weights_only=True)
        step = int(folder.name.removeprefix("step-"))
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise BadWeights(f"checkpoint {str(folder)!r} cannot be read: {error}", help="remove the folder") from error
    weights, averaged = (read_weights(folder / f"{n}.safetensors").tensors for n in ("weights", "averaged"))
    return Checkpoint(recipe, step, weights, averaged, state)


def exists(out: Path) -> bool:
    """Whether a run left a checkpoint."""
    return bool(_folders(out))


def figure(figures: Mapping[str, float], name: str) -> float:
    """The figure that chooses the best weights. Raises BadRecipe for an unknown one."""
    if name not in figures:
        raise BadRecipe(f"best_by: there is no figure {name!r}", help=nearest(name, figures) or ", ".join(figures))
    return figures[name]


def _folders(out: Path) -> list[Path]:
    return sorted(p for p in (out / "checkpoints").glob("step-*") if p.is_dir())


def write_result(path: Path, weights: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write weights for use: matrices and kernels in float16, vectors in float32, no batch counters."""
    kept = {name: np.asarray(array) for name, array in weights.items() if not name.endswith(_COUNTER)}
    small = {n: a.astype(np.float16 if a.ndim > 1 else np.float32) for n, a in kept.items()}
    write_safetensors(path, small, metadata)
