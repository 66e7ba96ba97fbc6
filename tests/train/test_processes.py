"""Runs as processes of their own: killed ones resume exactly, and two processes equal one with the same batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from graphdet import zoo  # noqa: E402
from graphdet.train import Recipe, checkpoint  # noqa: E402
from graphdet.train.recipe import Exponential, Optimiser  # noqa: E402
from graphdet.train.schedule import Warmup  # noqa: E402

pytestmark = pytest.mark.slow

RECIPE = Recipe(
    "yolox_scenes",
    "scenes:12:1:64x64",
    "scenes:5:9:64x64",
    steps=4,
    batch=4,
    optimiser=Optimiser("SGD", 0.01, 1e-4, {"momentum": 0.9}),
    warmup=Warmup(),
    average=Exponential(0.01, 10.0),
    threads=1,
    save_every=1,
    evaluate_every=4,
)


def start(recipe: Recipe, out: Path, *options: str, processes: int = 1) -> subprocess.Popen[str]:
    """`graphdet train` with this recipe, in as many processes."""
    file = out.with_suffix(".json")
    file.write_text(json.dumps(recipe.as_dict()))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "graphdet", "train", "--recipe", str(file), "--out", str(out), *options]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0, text
    return text


def test_a_killed_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    finish(start(RECIPE, tmp_path / "whole"))
    killed = start(RECIPE, tmp_path / "cut", "--resume", "auto")
    while not (tmp_path / "cut/checkpoints/step-00000002").exists():
        assert killed.poll() is None, killed.communicate()[0]
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert checkpoint.load(tmp_path / "cut").step < 4, "it was killed on the way"
    finish(start(RECIPE, tmp_path / "cut", "--resume", "auto"))
    names = ("weights.safetensors", "best.safetensors", "checkpoints/step-00000004/averaged.safetensors")
    for name in names:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Losses, gradients, norms' statistics and figures: sums are taken in another order, nothing else differs.

    From trained weights and at a small rate: SimOTA's choices jump, between equals at random weights above all.
    """
    trained = next((Path(zoo.__file__ or "").parent / "weights").glob("*.safetensors"))
    recipe = replace(RECIPE, device="cpu", steps=2, weights=str(trained), evaluate_every=2)
    recipe = recipe.with_fields({"optimiser.lr": 1e-6})
    finish(start(recipe, tmp_path / "one"))
    finish(start(recipe, tmp_path / "two", processes=2))
    one, two = ([json.loads(t) for t in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("one", "two"))
    steps = [[line for line in log if "loss" in line] for log in (one, two)]
    for mine, its in zip(*steps, strict=True):
        for name in ("loss", "loss_cls", "loss_bbox", "loss_obj", "norm"):
            assert mine[name] == pytest.approx(its[name], rel=1e-4), name
    assert one[-1]["evaluation"] == two[-1]["evaluation"]
    ours, theirs = (checkpoint.load(tmp_path / name) for name in ("one", "two"))
    for name in ours.weights:
        np.testing.assert_allclose(ours.weights[name], theirs.weights[name], rtol=1e-4, atol=1e-6, err_msg=name)
    states = (c.state["optimiser"]["state"] for c in (ours, theirs))
    for (key, mine), its in zip((first := next(states)).items(), next(states).values(), strict=True):
        mine, its = mine["momentum_buffer"], its["momentum_buffer"]
        np.testing.assert_allclose(mine, its, atol=1e-4 * float(mine.abs().max()) + 1e-6, err_msg=str(key))
    assert first


def test_the_end_of_one_process_ends_the_run(tmp_path: Path) -> None:
    recipe = replace(RECIPE, data="python:tests.train.test_processes:breaks_in_the_second", device="cpu", workers=1)
    broken = start(recipe, tmp_path / "run", processes=2)
    text, _ = broken.communicate(timeout=300)
    assert broken.returncode != 0
    assert "GD510" in text
    assert "spoilt" in text


def test_a_process_that_hangs_ends_the_run(tmp_path: Path) -> None:
    data = "python:tests.train.test_processes:hangs_in_the_second"
    recipe = replace(RECIPE, data=data, held_out="", device="cpu", patience=0.1)
    hanging = start(recipe, tmp_path / "run", processes=2)
    text, _ = hanging.communicate(timeout=300)
    assert hanging.returncode != 0
    assert "GD602 another process hangs or has ended: process 0 is in step 3, process 1 had begun step 2" in text, text
    assert checkpoint.load(tmp_path / "run").step == 2, "what was learnt is not lost"


class Failing:
    """Scenes; `fail` is called when the second process reads the fifth."""

    def __init__(self, fail: Callable[[], None]) -> None:
        from graphdet.data import Scenes

        self.scenes, self.reads, self.fail = Scenes(12, 1, size=(64, 64)), 0, fail
        self.classes = self.scenes.classes

    def __len__(self) -> int:
        return 12

    def sample(self, index: int) -> object:
        """As the scenes', for a while."""
        self.reads += 1
        if os.environ.get("RANK") == "1" and self.reads == 5:
            self.fail()
        return self.scenes.sample(index)


def spoilt() -> None:
    """A record that cannot be read."""
    from graphdet.errors import BadDataset

    raise BadDataset("the record is spoilt")


def breaks_in_the_second() -> Failing:
    """Named by a recipe."""
    return Failing(spoilt)


def hangs_in_the_second() -> Failing:
    """Named by a recipe."""
    return Failing(lambda: time.sleep(20))  # torchrun kills what hangs for longer than 30 s
