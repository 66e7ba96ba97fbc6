"""Proposals from files: both forms, the best first, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from graphdet.data import parse_data, write_coco
from graphdet.data.proposals import Proposals, required, stacked
from graphdet.errors import BadDataset, MissingFile


def written(folder: Path, rows: object) -> Path:
    (folder / "p.json").write_text(json.dumps(rows))
    return folder / "p.json"


def test_coco_results(tmp_path: Path) -> None:
    rows = [
        {"image_id": 139, "bbox": [1, 2, 10, 20], "score": 0.2, "category_id": 1},
        {"image_id": 139, "bbox": [3, 4, 5, 6], "score": 0.9},
        {"image_id": 7, "bbox": [0, 0, 1, 1], "score": 0.5},
    ]
    found = Proposals(written(tmp_path, rows))
    best = [[3, 4, 8, 10], [1, 2, 11, 22]]
    np.testing.assert_array_equal(found.of(139, 1000), np.asarray(best, np.float32))
    np.testing.assert_array_equal(found.of(Path("val/000000000139.jpg"), 1), np.asarray(best[:1], np.float32))
    for image in (8, Path("val/other.jpg")):
        assert found.of(image, 1000).shape == (0, 4)
    assert Proposals(written(tmp_path, [])).of(1, 10).shape == (0, 4)


def test_detections_of_the_verb_run(tmp_path: Path) -> None:
    one = {"class": "object", "label": 0, "score": 0.5, "box": [1.5, 2, 3, 4]}
    rows = [{"image": "a/1.jpg", "objects": [one]}, {"image": "b/1.jpg", "error": {}}]
    found = Proposals(written(tmp_path, rows))
    assert found.of(Path("a/1.jpg"), 10).tolist() == [[1.5, 2, 3, 4]]
    assert len(found.of(Path("b/1.jpg"), 10)) == 0


def test_datasets_carry_them(tmp_path: Path) -> None:
    """By number, or by the name of the file; through classes, repeats and joins."""
    notes = write_coco(tmp_path, 3, seed=1, size=(64, 64))
    file = written(tmp_path, [{"image_id": 2, "bbox": [1, 2, 10, 20], "score": 0.2}])
    data = f"coco:{notes.parent / 'images'}:{notes}"
    whole = parse_data(f"2*{data}#star,ring with {file} + {data}#star,ring")
    found = [whole.sample(i).proposals for i in range(len(whole))]
    assert [None if f is None else f.tolist() for f in found] == [[], [[1, 2, 11, 22]], []] * 2 + [None] * 3
    assert whole.classes == ("star", "ring")
    with pytest.raises(BadDataset, match="image 7 comes without proposals"):
        required(whole.sample(6))
    with pytest.raises(MissingFile):
        parse_data(f"{data} with {tmp_path / 'none.json'}")


def test_they_are_stacked() -> None:
    some = np.arange(12, dtype=np.float32).reshape(3, 4)
    boxes, count = stacked([some, some[:0]], 2)
    assert boxes.tolist() == [some[:2].tolist(), np.zeros((2, 4)).tolist()]
    assert count.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({}, "expected a list"),
        ([3], "result number 0"),
        ([{"image_id": 1, "bbox": [0, 0, 1], "score": 1}], "result number 0"),
        ([{"image_id": 1, "score": 1}], "bbox"),
        ([{"image_id": "x", "bbox": [0, 0, 1, 1], "score": 1}], "result number 0"),
        ([{"image_id": 1, "bbox": [0, 0, 1, float("nan")], "score": 1}], "not finite"),
        ([{"image": "a", "objects": [{"box": [1, 2]}]}], "result number 0"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, rows: object, words: str) -> None:
    with pytest.raises(BadDataset, match=words):
        Proposals(written(tmp_path, rows))
    with pytest.raises(MissingFile):
        Proposals(tmp_path / "none.json")
