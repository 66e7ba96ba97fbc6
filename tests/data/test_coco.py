"""COCO files and dataset names: what is read, and what is refused with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from graphdet.data import CocoDetection, Dataset, Scenes, parse_data
from graphdet.errors import BadDataset, BadImage, MissingFile

Content = dict[str, Any]


def content() -> Content:
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "height": 40, "width": 60},
            {"id": 3, "file_name": "a.png", "height": 30, "width": 20},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 10.5, 20], "area": 80, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 18, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 1},
            {"id": 5, "image_id": 7, "category_id": 18, "bbox": [9, 9, 0, 0]},
        ],
    }


def write(folder: Path, data: object) -> Path:
    file = folder / "instances.json"
    file.write_text(json.dumps(data))
    return file


def test_samples_keep_the_order_of_the_file(tmp_path: Path) -> None:
    dataset = CocoDetection(tmp_path, write(tmp_path, content()))
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 2
    assert dataset.classes == ("dog", "toothbrush")
    first, second = dataset.sample(0), dataset.sample(1)
    assert (first.id, first.size, first.image) == (7, (40, 60), tmp_path / "b.png")
    np.testing.assert_array_equal(first.truth.boxes, np.array([[1, 2, 11.5, 22], [0, 0, 5, 5]], np.float32))
    assert first.truth.labels.tolist() == [1, 0]
    assert first.truth.crowd.tolist() == [False, True]
    assert second.truth.boxes.shape == (0, 4)
    assert second.truth.boxes.dtype == np.float32
    assert second.truth.labels.dtype == np.int64


def test_boxes_without_area_are_left_out_and_reported(tmp_path: Path) -> None:
    dataset = CocoDetection(tmp_path, write(tmp_path, content()))
    assert dataset.degenerate == [5]
    assert len(dataset.annotations["annotations"]) == 3


def test_files_are_read_only_on_demand(tmp_path: Path) -> None:
    sample = CocoDetection(tmp_path, write(tmp_path, content())).sample(0)
    with pytest.raises(BadImage, match="does not exist"):
        sample.pixels()
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(BadImage, match="cannot be decoded"):
        sample.pixels()
    cv2.imwrite(str(tmp_path / "b.png"), np.full((40, 60, 3), 9, np.uint8))
    assert sample.pixels().shape == (40, 60, 3)


def _without(key: str) -> Callable[[Content], None]:
    return lambda data: data.pop(key)


def _set(group: str, key: str, value: object) -> Callable[[Content], None]:
    return lambda data: data[group][0].update({key: value})


def _drop(group: str, key: str) -> Callable[[Content], None]:
    return lambda data: data[group][0].pop(key)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("images"), "'images' is missing"),
        (_without("annotations"), "'annotations' is missing"),
        (_without("categories"), "'categories' is missing"),
        (_drop("annotations", "bbox"), "annotation 1 has no 'bbox'"),
        (_drop("annotations", "id"), "annotation number 0 has no 'id'"),
        (_drop("images", "height"), "image 7 has no 'height'"),
        (_drop("categories", "name"), "category 18 has no 'name'"),
        (_set("images", "id", 3), "image 3 occurs more than once"),
        (_set("images", "id", "x"), "has id 'x', expected an integer"),
        (_set("images", "width", 0), "image 7 has width 0"),
        (_set("images", "file_name", None), "file_name None"),
        (_set("annotations", "image_id", 99), "annotation 1 is of image 99"),
        (_set("annotations", "category_id", 1), "annotation 1 is of category 1"),
        (_set("annotations", "category_id", [1]), "annotation 1 is of category"),
        (_set("annotations", "bbox", [1, 2, 3]), "expected four finite numbers"),
        (_set("annotations", "bbox", [1, 2, 3, "4"]), "expected four finite numbers"),
        (_set("annotations", "bbox", [1, 2, float("nan"), 4]), "expected four finite numbers"),
        (_set("annotations", "bbox", [1, 2, 3, float("inf")]), "expected four finite numbers"),
        (_set("annotations", "bbox", [1, 2, -3, 4]), "negative width or height"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, damage: Callable[[Content], None], message: str) -> None:
    data = content()
    damage(data)
    file = write(tmp_path, data)
    with pytest.raises(BadDataset, match=message) as caught:
        CocoDetection(tmp_path, file)
    assert str(file) in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"images": {}, "annotations": [], "categories": []}'])
def test_files_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "instances.json"
    file.write_text(text)
    with pytest.raises(BadDataset):
        CocoDetection(tmp_path, file)


def test_missing_folder_and_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        CocoDetection(tmp_path / "none", write(tmp_path, content()))
    with pytest.raises(MissingFile):
        CocoDetection(tmp_path, tmp_path / "none.json")


def test_an_empty_dataset_is_a_dataset(tmp_path: Path) -> None:
    dataset = CocoDetection(tmp_path, write(tmp_path, {"images": [], "annotations": [], "categories": []}))
    assert len(dataset) == 0
    assert dataset.classes == ()


def test_parse_data(tmp_path: Path) -> None:
    file = write(tmp_path, content())
    assert len(parse_data(f"coco:{tmp_path}:{file}")) == 2
    scenes = parse_data("scenes:5:3:64x96")
    assert isinstance(scenes, Scenes)
    assert (scenes.count, scenes.seed, scenes.size) == (5, 3, (64, 96))
    assert parse_data("scenes:2") == Scenes(2)


def test_parse_data_with_colons_in_paths(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    assert len(parse_data(f"coco:{folder}:{write(folder, content())}")) == 2


@pytest.mark.parametrize(
    ("spec", "help_"),
    [
        ("", "forms"),
        ("images/", "forms"),
        ("coc:a:b", "did you mean 'coco'"),
        ("coco:", "coco:IMAGE_DIR:ANNOTATIONS.json"),
        ("coco:a", "coco:IMAGE_DIR:ANNOTATIONS.json"),
        ("coco::a.json", "coco:IMAGE_DIR:ANNOTATIONS.json"),
        ("scenes:many", "scenes:COUNT"),
        ("scenes:3:1:320", "scenes:COUNT"),
    ],
)
def test_malformed_specs_get_help(spec: str, help_: str) -> None:
    with pytest.raises(BadDataset) as caught:
        parse_data(spec)
    assert help_ in caught.value.help


@pytest.mark.data
def test_official_records(shared: Callable[[str], Path]) -> None:
    folder = shared("data/coco-val186-official")
    dataset = parse_data(f"coco:{folder}/val2017:{folder}/instances_val2017_186.json")
    assert len(dataset) == 186
    assert (len(dataset.classes), dataset.classes[0], dataset.classes[79]) == (80, "person", "toothbrush")
    samples = [dataset.sample(i) for i in range(186)]
    assert sum(len(s.truth.labels) for s in samples) == 1692
    assert sum(int(s.truth.crowd.sum()) for s in samples) == 20
    assert samples[0].pixels().shape == (*samples[0].size, 3)


def test_masks(tmp_path: Path) -> None:
    given = content()
    runs = {"size": [40, 60], "counts": [40 * 30, 40, 40 * 29]}  # the column x = 30
    given["annotations"][0]["segmentation"] = [[1, 2, 11, 2, 11, 22], [1, 2, 1, 22, 11, 22]]
    given["annotations"][1]["segmentation"] = runs
    first, second = (CocoDetection(tmp_path, write(tmp_path, given)).sample(i).truth.masks for i in range(2))
    assert first is not None
    outlines, column = first
    assert isinstance(outlines, tuple)
    assert [p.tolist() for p in outlines] == [[[1, 2], [11, 2], [11, 22]], [[1, 2], [1, 22], [11, 22]]]
    assert isinstance(column, np.ndarray)
    assert (column.sum(), column[:, 30].sum()) == (40, 40)
    assert second == ()
    assert CocoDetection(tmp_path, write(tmp_path, content())).sample(0).truth.masks is None
