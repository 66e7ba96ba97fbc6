"""Checkpoints: a folder a step, complete or absent, and the newest of them.

`OUT/checkpoints/step-00000500/` holds `weights.safetensors`, `ema.safetensors`, `recipe.json` and `state.pt`
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

from graphdet.errors import BadWeights, MissingFile
from graphdet.importers import read_weights, write_safetensors
from graphdet.records import Array
from graphdet.train.recipe import Recipe

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped. `state` holds tensors, numbers and lists of them."""

    recipe: Recipe
    step: int
    weights: Mapping[str, Array]
    ema: Mapping[str, Array]
    state: dict[str, Any]


def save(out: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove the older ones. A crash leaves the older ones or the new one whole."""
    home = out / "checkpoints"
    home.mkdir(parents=True, exist_ok=True)
    final = home / f"step-{checkpoint.step:08d}"
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=home))
    try:
        write_safetensors(partial / "weights.safetensors", checkpoint.weights)
        write_safetensors(partial / "ema.safetensors", checkpoint.ema)
        (partial / "recipe.json").write_text(json.dumps(checkpoint.recipe.as_dict(), indent=1), encoding="utf-8")
        with (partial / "state.pt").open("wb") as file:
            torch.save(checkpoint.state, file)
            file.flush()
            os.fsync(file.fileno())
        if final.exists():  # of the same step and recipe: the run was resumed and stopped at once
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in _folders(out):
        if other != final:
            shutil.rmtree(other, ignore_errors=True)
    return final


def load(out: Path) -> Checkpoint:
    """The newest checkpoint of a run. Raises MissingFile where there is none, BadWeights where it is damaged."""
    folders = _folders(out)
    if not folders:
        raise MissingFile(f"{str(out)!r} holds no checkpoint to resume from", help="start without --resume")
    folder = folders[-1]
    try:
        recipe = Recipe.from_dict(json.loads((folder / "recipe.json").read_text(encoding="utf-8")))
        state = torch.load(folder / "state.pt", weights_only=True)
        step = int(folder.name.removeprefix("step-"))
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise BadWeights(f"checkpoint {str(folder)!r} cannot be read: {error}", help="remove the folder") from error
    weights, ema = (read_weights(folder / f"{name}.safetensors").tensors for name in ("weights", "ema"))
    return Checkpoint(recipe, step, weights, ema, state)


def _folders(out: Path) -> list[Path]:
    return sorted(p for p in (out / "checkpoints").glob("step-*") if p.is_dir())


def write_result(path: Path, weights: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write weights for use: matrices and kernels in float16, vectors in float32, no batch counters."""
    kept = {name: np.asarray(array) for name, array in weights.items() if not name.endswith(_COUNTER)}
    small = {n: a.astype(np.float16 if a.ndim > 1 else np.float32) for n, a in kept.items()}
    write_safetensors(path, small, metadata)
