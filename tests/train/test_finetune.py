"""The shipped recipe on blood cells: the start of the run that docs/train.md shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from graphdet.train import Recipe, train
from graphdet.train.recipes import fields_of


@pytest.mark.slow
@pytest.mark.data
def test_published_weights_learn_blood_cells(shared: Callable[[str], Path], tmp_path: Path) -> None:
    """Forty steps of four images: the new head finds its classes."""
    folder, file = shared("data/bccd") / "BCCD", shared("data/yolox-nano-0.1.1rc0-onnx") / "yolox_nano.onnx"
    named = {"detector": "yolox_nano", "data": f"voc:{folder}:train", "weights": str(file), "steps": 40, "batch": 4}
    recipe = Recipe.from_dict({**fields_of("yolox_finetune"), **named, "refit_norms": 32, "threads": 1})
    train(recipe.with_fields({"warmup.steps": 5, "sizes": [[224, 224]]}), tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    course = [line["loss_cls"] for line in lines if "loss_cls" in line]
    assert "folded batch norms estimated anew" in lines[1]["note"]
    assert np.mean(course[-5:]) < 0.5 * np.mean(course[:5])
