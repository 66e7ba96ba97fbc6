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
from graphdet.errors import BadRecipe, BadWeights, Diverged, MissingFile, UnknownName  # noqa: E402
from graphdet.importers import read_weights  # noqa: E402
from graphdet.ir.detector import late_losses  # noqa: E402
from graphdet.train import Recipe, checkpoint, train  # noqa: E402
from graphdet.train.evaluate import TorchEngine  # noqa: E402
from graphdet.train.loop import Moment, Training, Watcher  # noqa: E402
from graphdet.train.optim import learning_rate, optimiser_of  # noqa: E402

At = dict[Moment, list[Watcher]]
TINY = Recipe(
    "yolox_scenes",
    "scenes:2:1:64x64",
    steps=3,
    batch=2,
    warmup=0,
    lr=2e-3,
    flip=0,
    jitter=0,
    rescale=0,
    threads=1,
    l1_from=1.0,
)


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


def test_resume_is_exact(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=4, save_every=2, flip=0.5, jitter=0.5, rescale=0.5, l1_from=0.5, threads=1)

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
    train(replace(TINY, l1_from=0.6), tmp_path, progress=False)  # from 1.8 steps of 3
    terms = [losses(tmp_path, name) for name in ("loss_cls", "loss_bbox", "loss_obj")]
    late = np.array(losses(tmp_path)) - np.sum(terms, axis=0)
    np.testing.assert_allclose(late, [0, 0, losses(tmp_path, "loss_l1")[2]], atol=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def spoil(run: Training) -> None:
        if run.step == 2:
            with torch.no_grad():
                run.trainable["bbox_head.multi_level_conv_obj.0.bias"].fill_(float("nan"))

    with pytest.raises(Diverged, match="step 3: loss term loss_") as caught:
        train(replace(TINY, save_every=2), tmp_path, progress=False, at={"before_step": [spoil]})
    assert "lower lr" in caught.value.help
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
    run = Training(TINY, tmp_path)
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
    run = Training(TINY, tmp_path)
    folder = checkpoint.save(tmp_path, run.snapshot())
    with pytest.raises(BadRecipe, match="holds a run already"):
        train(TINY, tmp_path, progress=False)
    with pytest.raises(BadRecipe, match=r"another recipe: lr: 0\.002 -> 0\.001"):
        train(replace(TINY, lr=1e-3), tmp_path, resume=True, progress=False)
    (folder / "state.pt").write_bytes(b"no archive")
    with pytest.raises(BadWeights, match="cannot be read"):
        checkpoint.load(tmp_path)


def test_evaluation_and_result(tmp_path: Path) -> None:
    seen: list[float] = []
    at: At = {"evaluated": [lambda run: seen.append(run.result.AP if run.result else -1)]}
    outcome = train(
        replace(TINY, held_out="scenes:2:9:64x64", steps=2, evaluate_every=1), tmp_path, progress=False, at=at
    )
    assert len(seen) == 2
    assert outcome.result is not None
    assert outcome.result.images == 2
    weights = read_weights(outcome.weights)
    assert weights.classes == zoo.get("yolox_scenes").row.classes
    engine = TorchEngine(zoo.get("yolox_scenes"))
    engine.load(weights.tensors)
    assert len(engine([np.zeros((50, 70, 3), np.uint8)])) == 1
    assert engine([]) == []


def test_wrong_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="moment 'after_setp'"):
        train(TINY, tmp_path, at={"after_setp": []})  # type: ignore[dict-item]
    with pytest.raises(BadRecipe, match=r"has the classes .* yolox_nano has"):
        train(replace(TINY, detector="yolox_nano"), tmp_path)


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"batch": 1.5}, {"lr": 0.0}, {"ema": 1.5}, {"optimiser": "adam"}, {"precision": "fp16"}]
)
def test_recipes_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(BadRecipe):
        replace(TINY, **change)


def test_recipe_round_trip() -> None:
    assert Recipe.from_dict(json.loads(json.dumps(TINY.as_dict()))) == TINY
    with pytest.raises(BadRecipe, match="no 'step'") as caught:
        Recipe.from_dict({"step": 3})
    assert "steps" in caught.value.help


def test_schedule_and_groups() -> None:
    recipe = replace(TINY, steps=100, warmup=10, lr=1.0, final_lr=0.1)
    assert learning_rate(recipe, 0) == pytest.approx(0.1)
    assert learning_rate(recipe, 10) == pytest.approx(1.0)
    assert learning_rate(recipe, 100) == pytest.approx(0.1)
    decayed, spared = optimiser_of(Training(TINY, Path()).module, TINY).param_groups
    assert {p.ndim for p in spared["params"]} == {1}
    assert spared["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])


def test_command_line(tmp_path: Path) -> None:
    from graphdet.cli.train import command

    options = [
        "--detector",
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
        command, [*options, "--steps", "1", "--set", "warmup=0", "--set", "optimiser=sgd", "--json"]
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["step"] == 1
    assert report["complete"] is True
    assert Path(report["weights"]).is_file()
