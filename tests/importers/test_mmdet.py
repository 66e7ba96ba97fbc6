"""MMDetection checkpoints: where the weights lie, which of two sets is taken, and what `meta` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet.errors import BadWeights
from graphdet.importers.mmdet import read_mmdet

torch = pytest.importorskip("torch")


def saved(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    return path


def values(path: Path, **options: Any) -> dict[str, float]:
    return {name: float(array) for name, array in read_mmdet(path, **options).tensors.items()}


@pytest.mark.parametrize("wrap", [lambda d: {"state_dict": d}, lambda d: {"model": d, "epoch": 3}, lambda d: d])
def test_the_weights_are_found(tmp_path: Path, wrap: Any) -> None:
    assert values(saved(tmp_path, wrap({"a.b": torch.tensor(1.0)}))) == {"a.b": 1.0}


def test_averaged_weights_of_the_older_hook(tmp_path: Path) -> None:
    state = {"a.b": 1.0, "a.c": 2.0, "ema_a_b": 10.0, "ema_other": 5.0}
    path = saved(tmp_path, {"state_dict": {n: torch.tensor(v) for n, v in state.items()}})
    assert values(path) == {"a.b": 1.0, "a.c": 2.0, "ema_other": 5.0}
    assert values(path, averaged=False) == {"a.b": 10.0, "a.c": 2.0, "ema_other": 5.0}
    assert read_mmdet(path).meta["averaged"] == "true"


def test_averaged_weights_of_the_newer_hook(tmp_path: Path) -> None:
    other = {"module.a.b": torch.tensor(10.0), "steps": torch.tensor(7)}
    path = saved(tmp_path, {"state_dict": {"a.b": torch.tensor(1.0)}, "ema_state_dict": other})
    assert values(path) == {"a.b": 1.0}
    assert values(path, averaged=False) == {"a.b": 10.0}


def test_an_ambiguous_averaging_name_is_refused(tmp_path: Path) -> None:
    state = {n: torch.tensor(1.0) for n in ("a.b_c", "a_b.c", "ema_a_b_c")}
    with pytest.raises(BadWeights, match="ema_a_b_c"):
        read_mmdet(saved(tmp_path, state))


def test_meta_is_plain_text(tmp_path: Path) -> None:
    meta = {"epoch": np.int64(12), "iter": 5, "cfg": "x = 1", "dataset_meta": {"CLASSES": ("cat", "dög")}, "seed": None}
    weights = read_mmdet(saved(tmp_path, {"state_dict": {"a": torch.tensor(1.0)}, "meta": meta}))
    assert weights.classes == ("cat", "dög")
    facts = {key: weights.meta[key] for key in ("epoch", "iter", "config", "source", "format")}
    assert facts == {"epoch": "12", "iter": "5", "config": "x = 1", "source": "w.pth", "format": "pytorch"}
    assert "seed" not in weights.meta
    assert len(weights.meta["sha256"]) == 64


def test_the_optimiser_is_left_alone(tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.tensor(1.0)}, "optimizer": {"state": {0: {"step": torch.tensor(4)}}}}
    assert values(saved(tmp_path, content)) == {"a": 1.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no dict of tensors"),
        (torch.ones(3), "no dict of tensors"),
        ({"weights": {"a": 1}}, "entry 'weights' of the weights is no tensor"),
        ({"state_dict": {"a": 3}}, "entry 'a'"),
        ({"state_dict": {3: torch.ones(1)}}, "entry '3'"),
    ],
)
def test_something_else_than_weights(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        read_mmdet(saved(tmp_path, content))


def test_an_empty_state_is_no_error(tmp_path: Path) -> None:
    assert values(saved(tmp_path, {"state_dict": {}})) == {}
