"""YOLOX-Nano's released weights on real photos: every target reaches the figures of the original model.

The expected figures are those of the authors' ONNX file on the same 186 images of COCO val2017 (a subset: they say
nothing about the whole set), with score threshold 0.01 and IoU threshold 0.65.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

from graphdet import compiler, zoo
from graphdet.data import Dataset, parse_data
from graphdet.eval import evaluate
from graphdet.importers.detector import import_weights
from graphdet.records import Array
from graphdet.runtime import Engine

pytestmark = pytest.mark.data

EXPECTED = {"AP": 27.72, "AP50": 43.94, "AP75": 29.23}
TARGETS = ("openvino", "onnxruntime", "onnx", "torch")
RUNS = [(target, batch) for target in TARGETS for batch in (1, 8)]


@cache
def weights(folder: Path) -> dict[str, Array]:
    """The released weights under the detector's names."""
    return import_weights(folder / "yolox_nano.onnx", zoo.get("yolox_nano")).tensors


@cache
def photos(folder: Path) -> Dataset:
    """The annotated images."""
    return parse_data(f"coco:{folder / 'val2017'}:{folder / 'instances_val2017_186.json'}")


@cache
def figures(model: Path, data: Path, target: str, batch: int, limit: int | None = None) -> dict[str, float]:
    """AP in percent, by name."""
    engine = Engine(compiler.compile(zoo.get("yolox_nano"), weights(model), target, batch=batch))
    found = evaluate(engine, photos(data), batch=batch, limit=limit).figures()
    return {name: 100 * found[name] for name in EXPECTED}


@pytest.fixture
def folders(shared: Callable[[str], Path]) -> tuple[Path, Path]:
    """Model and photos."""
    return shared("data/yolox-nano-0.1.1rc0-onnx"), shared("data/coco-val186-official")


def test_a_few_photos(folders: tuple[Path, Path]) -> None:
    """A quick look at two targets; the figures of so few images are higher by chance."""
    found = [figures(*folders, target, 1, 24)["AP"] for target in ("openvino", "onnxruntime")]
    assert abs(found[0] - found[1]) <= 0.05
    assert found[0] > 25


@pytest.mark.slow
@pytest.mark.parametrize(("target", "batch"), RUNS)
def test_each_target_reaches_the_original(folders: tuple[Path, Path], target: str, batch: int) -> None:
    found = figures(*folders, target, batch)
    assert found == pytest.approx(EXPECTED, abs=0.1)


@pytest.mark.slow
def test_targets_agree(folders: tuple[Path, Path]) -> None:
    found = {run: figures(*folders, *run)["AP"] for run in RUNS}
    for a, b in combinations(found, 2):
        assert abs(found[a] - found[b]) <= 0.02, (a, b, found)
