"""The loop: it learns, resumes exactly, stops at what is not finite, and leaves whole checkpoints."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from graphdet import zoo  # noqa: E402
from graphdet.data.transforms import Flip, Jitter, Mosaic, Rescale  # noqa: E402
from graphdet.errors import BadRecipe, BadWeights, Diverged, MissingFile, UnknownName  # noqa: E402
from graphdet.importers import read_weights  # noqa: E402
from graphdet.ir.detector import late_losses  # noqa: E402
from graphdet.train import Recipe, checkpoint, train  # noqa: E402
from graphdet.train.evaluate import TorchEngine  # noqa: E402
from graphdet.train.group import Group  # noqa: E402
from graphdet.train.loop import Moment, Setup, Watcher  # noqa: E402
from graphdet.train.optim import factors_of, optimiser_of  # noqa: E402
from graphdet.train.recipe import Exponential, Linear, Optimiser, Rule  # noqa: E402
from graphdet.train.recipes import RECIPES, fields_of  # noqa: E402
from graphdet.train.schedule import Step, Warmup  # noqa: E402
from graphdet.train.state import Training  # noqa: E402

At = dict[Moment, list[Watcher]]
TINY = Recipe(
    "yolox_scenes",
    "scenes:2:1:64x64",
    steps=3,
    batch=2,
    optimiser=Optimiser("AdamW", 2e-3, 0.02, {}),
    warmup=Warmup(),
    average=Exponential(0.002, 100.0),
    threads=1,
)


def state(recipe: Recipe, out: Path) -> Training:
    """A run's state before the first step."""
    return Setup.of(recipe, out, Group()).run


def losses(out: Path, name: str = "loss") -> list[float]:
    """A term's course in the log."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def interrupt() -> None:
    """Ctrl-C, as Python delivers it to the handler now installed.

    A real signal is not used: in a process where other tests had loaded all backends, delivering it has crashed.
    """
    handler = signal.getsignal(signal.SIGINT)
    assert callable(handler)
    handler(signal.SIGINT, None)


def test_three_steps_lower_the_loss(tmp_path: Path) -> None:
    outcome = train(TINY, tmp_path, progress=False)
    course = losses(tmp_path)
    assert outcome.complete
    assert outcome.step == len(course) == 3
    assert course[-1] < course[0]
    memory = losses(tmp_path, "memory")
    assert 100 < memory[0] <= memory[-1] < 100_000


def test_resume_is_exact(tmp_path: Path) -> None:
    changes = (Mosaic((64, 64)), Flip(), Jitter(), Rescale())
    recipe = replace(TINY, steps=4, save_every=2, transforms=changes, late_transforms=(Flip(),), late_from=0.75)

    def stop_after_two(run: Training) -> None:
        if run.step == 2:
            interrupt()

    train(recipe, tmp_path / "whole", progress=False)
    cut = train(recipe, tmp_path / "cut", progress=False, at={"after_step": [stop_after_two]})
    assert (cut.complete, cut.step) == (False, 2)
    assert train(recipe, tmp_path / "cut", resume=True, progress=False).complete
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert (tmp_path / "cut/weights.safetensors").read_bytes() == (tmp_path / "whole/weights.safetensors").read_bytes()
    ours, theirs = (checkpoint.load(tmp_path / name) for name in ("cut", "whole"))
    assert all(np.array_equal(ours.weights[k], theirs.weights[k]) for k in theirs.weights)


def test_ctrl_c_says_how_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    stop = [lambda run: interrupt()]
    assert not train(TINY, tmp_path, progress=False, at={"before_step": stop}).complete
    assert "--resume" in capsys.readouterr().err
    assert checkpoint.load(tmp_path).step == 1, "the step under way was finished and saved"
    assert signal.getsignal(signal.SIGINT) is before


def test_late_losses_join_late(tmp_path: Path) -> None:
    assert late_losses(zoo.get("yolox_scenes")) == {"loss_l1"}
    train(replace(TINY, late_from=0.6), tmp_path, progress=False)  # from 1.8 steps of 3
    terms = [losses(tmp_path, name) for name in ("loss_cls", "loss_bbox", "loss_obj")]
    late = np.array(losses(tmp_path)) - np.sum(terms, axis=0)
    np.testing.assert_allclose(late, [0, 0, losses(tmp_path, "loss_l1")[2]], atol=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def spoil(run: Training) -> None:
        if run.step == 2:
            with torch.no_grad():
                run.trainable["bbox_head.multi_level_conv_obj.0.bias"].fill_(float("nan"))

    with pytest.raises(
        Diverged,
        match=r"step 3: loss term loss_.*; first not finite: the parameter bbox_head\.multi_level_conv_obj\.0\.bias",
    ) as caught:
        train(replace(TINY, save_every=2), tmp_path, progress=False, at={"before_step": [spoil]})
    assert "lower optimiser.lr" in caught.value.help
    saved = checkpoint.load(tmp_path)
    assert saved.step == 2
    assert all(np.isfinite(array).all() for array in saved.weights.values())


def test_a_gradient_that_is_not_finite_is_named(tmp_path: Path) -> None:
    def poison(run: Training) -> None:
        weight: Any = run.trainable["backbone.stem.conv.conv.weight"]
        weight.register_hook(lambda grad: grad * float("inf"))

    with pytest.raises(Diverged, match=r"step 1: gradient of backbone\.stem\.conv\.conv\.weight"):
        train(TINY, tmp_path, progress=False, at={"start": [poison]})


def test_a_failed_save_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = state(TINY, tmp_path)
    checkpoint.save(tmp_path, run.snapshot())

    def full(*_: Any) -> None:
        raise OSError("disk full")

    run.step = 7
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="disk full"):
            checkpoint.save(tmp_path, run.snapshot())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000000"], "and no rest of the failed one"
    assert checkpoint.load(tmp_path).step == 0
    checkpoint.save(tmp_path, run.snapshot())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000007"]


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no checkpoint"):
        train(TINY, tmp_path / "new", resume=True, progress=False)
    run = state(TINY, tmp_path)
    folder = checkpoint.save(tmp_path, run.snapshot())
    with pytest.raises(BadRecipe, match="holds a run already"):
        train(TINY, tmp_path, progress=False)
    with pytest.raises(BadRecipe, match=r"another recipe: optimiser\.lr: 0\.002 -> 0\.001"):
        train(TINY.with_fields({"optimiser.lr": 1e-3}), tmp_path, resume=True, progress=False)
    (folder / "state.pt").write_bytes(b"no archive")
    with pytest.raises(BadWeights, match="cannot be read"):
        checkpoint.load(tmp_path)


def test_evaluation_and_result(tmp_path: Path) -> None:
    seen: list[float] = []
    at: At = {"evaluated": [lambda run: seen.append(run.result.AP if run.result else -1)]}
    outcome = train(
        replace(
            TINY, held_out="scenes:1:9:64x64 & scenes:1:7:64x64", best_by="1_AP", steps=2, evaluate_every=1
        ), tmp_path, progress=False, at=at,
    )  # fmt: skip
    assert len(seen) == 2
    assert outcome.result is not None
    assert outcome.result.images == 2
    assert [part.images for part in outcome.result.parts] == [1, 1]
    assert "1_AP" in json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["evaluation"]
    weights = read_weights(outcome.weights)
    assert weights.classes == zoo.get("yolox_scenes").row.classes
    engine = TorchEngine(zoo.get("yolox_scenes"))
    engine.load(weights.tensors)
    shapes: list[tuple[int, ...]] = []
    engine.module.register_forward_pre_hook(lambda m, a, k: shapes.append(tuple(k["pixels"].shape)), with_kwargs=True)
    assert len(engine([np.zeros((50, 70, 3), np.uint8)])) == 1
    assert shapes == [(1, 3, 320, 320)], "as the compiled engine sees it, not cut to the image"
    assert engine([]) == []


def test_trackers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(replace(TINY, steps=2, track=("tensorboard",)), tmp_path, progress=False)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = [event.value for event in events.Scalars("loss/all")]
    assert found == pytest.approx(losses(tmp_path), rel=1e-5)
    assert events.Scalars("train/memory")[-1].value == pytest.approx(losses(tmp_path, "memory")[-1], rel=0.05)
    with pytest.raises(BadRecipe, match="'tensorbord' is unknown"):
        train(replace(TINY, track=("tensorbord",)), tmp_path / "other", progress=False)


class Board:
    """What processes noted, as torch's store gives it; None: its host is gone."""

    def __init__(self, *steps: int | None) -> None:
        self.notes = {f"graphdet/begun/{rank}": step for rank, step in enumerate(steps)}

    def check(self, keys: list[str]) -> bool:
        """Whether these are noted."""
        if None in self.notes.values():
            raise RuntimeError("Connection reset by peer")
        return all(self.notes[key] for key in keys)

    def get(self, key: str) -> bytes:
        """A note."""
        return str(self.notes[key]).encode()


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((7, 7, 7), "process 1 is in step 7, no other is behind it"),
        ((6, 7, 0), "process 1 is in step 7, process 0 had begun step 6; process 2 had begun step 0"),
        ((1, 0, 0), "process 1 is before its first step, no other is behind it"),
        ((3, None, 3), "process 1 cannot ask how far the others are"),
    ],
)
def test_who_is_behind(steps: tuple[int | None, ...], text: str) -> None:
    assert Group(1, 3, board=Board(*steps)).lost() == text


def test_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="moment 'after_setp'"):
        train(TINY, tmp_path, at={"after_setp": []})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 1.5},
        {"batch": 0},
        {"optimiser.lr": 0.0},
        {"average.momentum": "much"},
        {"precision": "fp8"},
        {"late_from": 2.0},
        {"accumulate": 3},
        {"schedule": "Cosin"},
        {"transforms": [{"kind": "Flop"}]},
        {"transforms": [{"kind": "Flip", "chance": 1}]},
        {"transforms.4.chance": 1},
    ],
)
def test_recipes_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(BadRecipe):
        TINY.with_fields(change)


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_round_trip(name: str) -> None:
    recipe = Recipe.from_dict({"detector": "yolox_nano", "data": "scenes:2", **fields_of(name)})
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_fields_change_by_dotted_names() -> None:
    found = TINY.with_fields({"schedule": "Step", "schedule.gamma": 0.5, "average": None, "transforms": ["Flip"]})
    assert found.schedule == Step(gamma=0.5)
    assert found.average is None
    assert found.transforms == (Flip(),)
    assert found.with_fields({"transforms.0.vertical": 0.25}).transforms == (Flip(0.5, 0.25),)
    with pytest.raises(BadRecipe, match="no 'step'") as caught:
        Recipe.from_dict({"step": 3})
    assert "steps" in caught.value.help


def test_unknown_optimisers_and_options_are_named(tmp_path: Path) -> None:
    for change, text in (({"name": "AdamX"}, "no 'AdamX'"), ({"options": {"momentun": 1}}, "no option 'momentun'")):
        with pytest.raises(BadRecipe, match=text):
            state(replace(TINY, optimiser=replace(TINY.optimiser, **change)), tmp_path)


def test_factors_of_parameters(tmp_path: Path) -> None:
    rules = (Rule(r"multi_level_conv_cls\.", lr=10.0, decay=2.0),)
    spec = Optimiser("SGD", norm_decay=0.0, bias_decay=0.5, bias_lr=2.0, rules=rules, layer_decay=0.5)
    found = factors_of(state(TINY, tmp_path).module, spec)
    assert found["neck.reduce_layers.0.conv.weight"] == (1, 1)
    assert found["neck.reduce_layers.0.bn.weight"] == found["neck.reduce_layers.0.bn.bias"] == (1, 0)
    assert found["bbox_head.multi_level_conv_reg.0.bias"] == (2, 0.5)
    assert found["bbox_head.multi_level_conv_cls.0.weight"] == (10, 2)
    stages = {n.split(".")[1]: lr for n, (lr, _) in found.items() if n.startswith("backbone.")}
    assert sorted(stages.values()) == [0.5**i for i in (5, 4, 3, 2, 1)]
    assert stages["stage4"] == 0.5
    groups = optimiser_of(state(TINY, tmp_path).module, spec).param_groups
    assert {(g["factor"], g["weight_decay"] / spec.weight_decay) for g in groups} == set(found.values())


def test_parts_accumulate_to_the_whole_batch(tmp_path: Path) -> None:
    """Without batch norms' statistics, and with as many positives in each part, parts sum to the batch."""
    base = replace(TINY, data="scenes:1:1:64x64", batch=2, freeze_norms=("",), optimiser=Optimiser("SGD", 1e-3))
    runs = [Setup.of(replace(base, accumulate=parts), tmp_path, Group()) for parts in (1, 2)]
    for setup in runs:
        setup.run.advance(setup.batches(0))
    whole, halves = (setup.run for setup in runs)
    assert halves.loss == pytest.approx(whole.loss, rel=1e-5)
    assert halves.norm == pytest.approx(whole.norm, rel=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns(tmp_path: Path, precision: str) -> None:
    train(TINY.with_fields({"precision": precision}), tmp_path / precision, progress=False)
    course = losses(tmp_path / precision)
    train(TINY, tmp_path / "fp32", progress=False)
    np.testing.assert_allclose(course[0], losses(tmp_path / "fp32")[0], rtol=0.05)
    assert course[-1] < course[0]


def test_the_average_follows_its_rule(tmp_path: Path) -> None:
    run = state(replace(TINY, average=Linear(0.1, 4)), tmp_path)
    assert run.average is not None
    name = "bbox_head.multi_level_conv_reg.0.bias"
    expected = run.average.values[name].clone()
    for rate in (1 - 2 / 5, 1 - 3 / 6, 1 - 4 / 7):
        with torch.no_grad():
            run.trainable[name].add_(1.0)
        run.average.update(run.module)
        expected += rate * (run.trainable[name].detach() - expected)
        torch.testing.assert_close(run.average.values[name], expected)


def test_frozen_parameters_and_norms_do_not_move(tmp_path: Path) -> None:
    recipe = replace(TINY, freeze=(r"backbone\.stem",), freeze_norms=(r"neck\.",), average=None)
    before = checkpoint.load(_run(replace(recipe, steps=1), tmp_path / "a")).weights
    after = checkpoint.load(_run(replace(recipe, steps=3), tmp_path / "b")).weights
    moved = {n for n in before if not np.array_equal(before[n], after[n])}
    assert not any(n.startswith("backbone.stem") for n in moved)
    assert not any(n.startswith("neck.") and "running" in n for n in moved)
    assert "neck.reduce_layers.0.bn.weight" in moved
    assert "backbone.stage1.0.conv.bn.running_mean" in moved or any("stage1" in n and "running" in n for n in moved)
    with pytest.raises(BadRecipe, match="no parameter's name starts with 'backbon_'"):
        state(replace(TINY, freeze=("backbon_",)), tmp_path)


def _run(recipe: Recipe, out: Path) -> Path:
    train(recipe, out, progress=False)
    return out


def test_command_line(tmp_path: Path) -> None:
    from graphdet.cli.train import command

    options = [
        "yolox_scenes",
        "--data",
        "scenes:2:1:64x64",
        "--batch",
        "1",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(
        command, [*options, "--steps", "1", "--set", "warmup.steps=0", "--set", "optimiser.name=SGD", "--json"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["step"] == 1
    assert report["complete"] is True
    assert Path(report["weights"]).is_file()
