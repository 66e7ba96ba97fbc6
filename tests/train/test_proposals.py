"""Fast R-CNN learns from images whose proposals come from a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from graphdet import zoo  # noqa: E402
from graphdet.data import parse_data, write_coco  # noqa: E402
from graphdet.data.transforms import Flip, Resize  # noqa: E402
from graphdet.errors import BadDataset  # noqa: E402
from graphdet.records import Preprocess  # noqa: E402
from graphdet.train import Recipe, train  # noqa: E402
from graphdet.train.batch import batch_inputs  # noqa: E402
from graphdet.train.recipe import Optimiser  # noqa: E402
from graphdet.train.schedule import Warmup  # noqa: E402
from graphdet.zoo.backbones.resnet import ResNet  # noqa: E402


@pytest.fixture
def forms(tmp_path: Path) -> tuple[str, Path]:
    """A set of three drawn images, and a file of proposals: the objects' boxes, and a large one in each."""
    notes = write_coco(tmp_path, 3, seed=1, size=(64, 96))
    content = json.loads(notes.read_text())
    rows = [{"image_id": n["image_id"], "bbox": n["bbox"], "score": 0.9} for n in content["annotations"]]
    rows += [{"image_id": image["id"], "bbox": [0, 0, 96, 64], "score": 0.1} for image in content["images"]]
    (tmp_path / "proposals.json").write_text(json.dumps(rows))
    return f"coco:{tmp_path / 'images'}:{notes}", tmp_path / "proposals.json"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast R-CNN on a small body, for small images and up to 20 proposals."""
    variant = zoo.get("fast_rcnn_r50").with_arguments(body=ResNet(18), width=16, most=20)
    row = replace(variant.row, preprocess=replace(variant.preprocess, size=(64, 96)))
    monkeypatch.setattr(zoo, "get", lambda name: replace(variant, row=row))


def recipe(data: str, **fields: object) -> Recipe:
    base = Recipe(
        "fast_rcnn_r50", data, steps=2, batch=2, optimiser=Optimiser(lr=0.01), warmup=Warmup(), threads=1,
        transforms=(Resize(((96, 64), (48, 32))), Flip()),
    )  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


def test_boxes_are_those_of_the_objects(forms: tuple[str, Path]) -> None:
    """In net pixels, as the truth is; padded to what the detector takes, the worst cut off."""
    data = parse_data(f"{forms[0]} with {forms[1]}")
    samples = [data.sample(i) for i in range(3)]
    found = batch_inputs(samples, Preprocess(size=(128, 192), fit="letterbox"), proposals=6)
    assert found["proposals_boxes"].shape == (3, 6, 4)
    for i, sample in enumerate(samples):
        objects = len(sample.truth)
        assert found["proposals_count"][i] == min(objects + 1, 6)
        np.testing.assert_allclose(
            found["proposals_boxes"][i, : min(objects, 6)], found["truth_boxes"][i, : min(objects, 6)], atol=0.05
        )


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_fast_rcnn_learns_and_is_evaluated(forms: tuple[str, Path], tmp_path: Path) -> None:
    losses: list[dict[str, float]] = []
    data = f"{forms[0]} with {forms[1]}"
    outcome = train(
        recipe(data, held_out=data), tmp_path / "run", progress=False,
        at={"after_step": [lambda run: losses.append(dict(run.losses))]},
    )  # fmt: skip
    assert len(losses) == 2
    assert set(losses[0]) == {"loss_cls", "loss_bbox"}
    assert losses[0]["loss_bbox"] > 0, "some proposals are positive: they are the objects"
    assert outcome.result is not None
    assert outcome.result.images == 3
    with pytest.raises(BadDataset, match="comes without proposals"):
        train(recipe(forms[0]), tmp_path / "none", progress=False)
    with pytest.raises(BadDataset, match="comes without proposals"):
        train(recipe(data, held_out=forms[0]), tmp_path / "unheld", progress=False)
