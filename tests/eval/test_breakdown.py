"""The analysis of errors, against the twelve figures, against pycocotools used by hand, and on cases made up."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet.errors import BadDataset
from graphdet.eval import break_down, evaluate_results
from graphdet.eval.breakdown import RULES

CATEGORIES = [
    {"id": 3, "name": "cat", "supercategory": "animal"},
    {"id": 1, "name": "car", "supercategory": "vehicle"},
    {"id": 2, "name": "dog", "supercategory": "animal"},
    {"id": 4, "name": "cup", "supercategory": "kitchen"},
]


def truth(*objects: tuple[int, list[float]]) -> dict[str, Any]:
    """One image with objects (category, bbox)."""
    notes = [
        {"id": i, "image_id": 1, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, (c, b) in enumerate(objects, 1)
    ]
    image = {"id": 1, "height": 200, "width": 200, "file_name": "a.jpg"}
    return {"images": [image], "annotations": notes, "categories": CATEGORIES}


def row(category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "bbox": box, "score": score}


OBJECTS = truth((3, [0, 0, 40, 40]), (2, [100, 100, 40, 40]), (1, [100, 0, 40, 40]))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (row(3, [0, 0, 40, 26], 0.9), (0, 1, 1, 1, 1, 1, 1)),  # an IoU of .65 with the cat
        (row(3, [0, 0, 40, 10], 0.9), (0, 0, 1, 1, 1, 1, 1)),
        (row(3, [100, 100, 40, 40], 0.9), (0.5, 0.5, 0.5, 1, 1, 1, 1)),  # the dog
        (row(3, [100, 0, 40, 40], 0.9), (0.5, 0.5, 0.5, 0.5, 1, 1, 1)),  # the car
        (row(3, [0, 150, 40, 40], 0.9), (0.5, 0.5, 0.5, 0.5, 0.5, 1, 1)),  # nothing
        (None, (0, 0, 0, 0, 0, 0, 1)),  # missed
    ],
)
def test_each_kind_of_error_ends_with_its_rule(wrong: dict[str, Any] | None, expected: tuple[float, ...]) -> None:
    right = row(3, [0, 0, 40, 40], 0.8)
    place_is_wrong = expected[0] == 0
    rows = [] if wrong is None else [wrong] if place_is_wrong else [wrong, right]
    found = break_down(OBJECTS, rows).per_class()["cat"]
    assert tuple(found.values()) == pytest.approx(expected, abs=1e-9)


def test_classes_without_objects_and_without_kin() -> None:
    found = break_down(OBJECTS, [row(1, [100, 100, 40, 40], 0.9), row(1, [100, 0, 40, 40], 0.8)])
    assert set(found.per_class()["cup"].values()) == {-1.0}
    assert found.per_class()["car"] == pytest.approx(dict(zip(RULES, (0.5, 0.5, 0.5, 0.5, 1, 1, 1), strict=True)))
    assert found.figures()["C50"] == pytest.approx(0.5 / 3), "the mean leaves out the class without objects"
    assert found.figures("large")["FN"] == -1
    empty = break_down(truth(), [])
    assert set(empty.figures().values()) == {-1.0}
    assert empty.curves() == {}
    json.dumps(empty.as_dict())


def test_results_of_other_images_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    file.write_text(json.dumps([row(3, [0, 0, 1, 1], 0.5) | {"image_id": 7}]))
    with pytest.raises(BadDataset, match="image 7, not in"):
        break_down(OBJECTS, file)


@pytest.mark.data
@pytest.mark.parametrize("metric", ["bbox", pytest.param("segm", marks=pytest.mark.slow)])
def test_golden_data(shared: Callable[[str], Path], metric: str) -> None:
    """C50 and C75 are the figures of COCO's evaluator, and each rule forgives more than the one before."""
    folder = shared("data/cocoapi-evaluator-golden")
    annotations, results = (
        folder / "instances_val2014_100.json",
        folder / f"instances_val2014_fake{metric}100_results.json",
    )
    content = json.loads(annotations.read_text())
    found = break_down(content, results, metric)
    usual = evaluate_results(annotations, results, metric)
    figures = found.figures()
    assert figures["C50"] == pytest.approx(usual.AP50, abs=1e-12)
    assert figures["C75"] == pytest.approx(usual.AP75, abs=1e-12)
    assert list(figures.values()) == sorted(figures.values())
    assert figures["FN"] == 1
    assert found.curves()["C50"].mean() == pytest.approx(figures["C50"])
    if metric == "bbox":
        both = break_down(content, results, backend="pycocotools")
        np.testing.assert_allclose(both.precision, found.precision, atol=1e-12)
        assert found.per_class()["dog"]["Sim"] == pytest.approx(by_hand(content, results, "dog"), abs=1e-12)


def by_hand(content: dict[str, Any], results: Path, name: str) -> float:
    """Mean precision at an IoU of .1 with the class's kin turned into ignored regions, by pycocotools alone."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    own = next(c for c in content["categories"] if c["name"] == name)
    kin = {c["id"] for c in content["categories"] if c["supercategory"] == own["supercategory"]}
    changed = json.loads(json.dumps(content))
    for note in changed["annotations"]:
        if note["category_id"] in kin - {own["id"]}:
            note.update(category_id=own["id"], iscrowd=1, ignore=1)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = COCO()
        expected.dataset = changed
        expected.createIndex()
        evaluation = COCOeval(expected, expected.loadRes(str(results)), "bbox")
        evaluation.params.iouThrs, evaluation.params.catIds = np.asarray([0.1]), [own["id"]]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"][0, :, 0, 0, -1].mean())
