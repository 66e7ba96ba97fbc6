"""Mask R-CNN learns sixteen photos by heart: boxes and masks, by the loop that trains everything."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from graphdet import zoo
from graphdet.train import Recipe, train
from graphdet.train.recipe import Optimiser
from graphdet.train.schedule import Warmup
from graphdet.zoo.backbones.resnet import ResNet

COCO = "data/coco-val186-official"


def few(folder: Path, file: Path) -> str:
    """The first sixteen photos of up to three large objects and no crowd, as a dataset."""
    whole = json.loads((folder / "instances_val2017_186.json").read_text())
    notes = defaultdict(list)
    for note in whole["annotations"]:
        notes[note["image_id"]].append(note)

    def fits(image: dict[str, Any]) -> bool:
        mine, least = notes[image["id"]], 0.04 * image["width"] * image["height"]
        return 0 < len(mine) <= 3 and all(not n["iscrowd"] and n["area"] >= least for n in mine)

    images = [image for image in whole["images"] if fits(image)][:16]
    kept = [note for image in images for note in notes[image["id"]]]
    classes = {note["category_id"] for note in kept}
    categories = [c for c in whole["categories"] if c["id"] in classes]
    file.write_text(json.dumps({**whole, "images": images, "annotations": kept, "categories": categories}))
    return f"coco:{folder / 'val2017'}:{file}"


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.data
def test_mask_rcnn_learns_sixteen_photos(
    shared: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R18 from scratch, 32 channels in the pyramid, 96 x 160 pixels, 1000 steps of two photos: a quarter of an hour."""
    small = zoo.get("mask_rcnn_r50").with_arguments(body=ResNet(18, frozen=-1, stored=False), width=32)
    small = replace(small, row=replace(small.row, preprocess=replace(small.row.preprocess, size=(96, 160))))
    monkeypatch.setattr(zoo, "get", lambda name: small)
    data = few(shared(COCO), tmp_path / "few.json")
    recipe = Recipe(
        "mask_rcnn_r50", data, held_out=data, steps=1000, batch=2, optimiser=Optimiser("AdamW", 1e-3, 1e-4, {}),
        warmup=Warmup(20), clip=10.0, threads=1, evaluate_every=1000, save_every=1000,
    )  # fmt: skip
    result = train(recipe, tmp_path / "run", progress=False).result
    assert result is not None
    print(f"AP of boxes {100 * result.AP:.1f}, of masks {100 * result.also['segm']['AP']:.1f}")
    assert result.images == 16
    assert result.AP > 0.8
    assert result.also["segm"]["AP"] > 0.8
