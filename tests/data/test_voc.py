"""Pascal VOC, YOLO text files, image folders, and datasets made of datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphdet.data import Dataset, Scenes, Voc, parse_data
from graphdet.data.order import Balanced, ClassAware, Order, Shuffled, repeat_factors
from graphdet.errors import BadDataset, MissingFile


def object_(name: str = "cat", box: tuple[object, ...] = (1, 2, 10, 20), extra: str = "") -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def write(folder: Path, name: str, *objects: str, size: str = "<width>60</width><height>40</height>") -> None:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    text = f"<annotation><filename>{name}.jpg</filename><size>{size}</size>{''.join(objects)}</annotation>"
    (folder / "Annotations" / f"{name}.xml").write_text(text)


def test_boxes_count_pixels_from_one_and_include_the_last(tmp_path: Path) -> None:
    write(tmp_path, "a", object_(box=(1, 1, 60, 40)), object_("dog", extra="<difficult>1</difficult>"))
    data = Voc(tmp_path)
    assert isinstance(data, Dataset)
    sample = data.sample(0)
    assert sample.size == (40, 60)
    assert sample.truth.boxes.tolist() == [[0, 0, 60, 40], [0, 1, 10, 20]]
    assert sample.truth.crowd.tolist() == [False, True]
    assert [data.classes[i] for i in sample.truth.labels] == ["cat", "dog"]
    assert len(data.classes) == 20, "the files name no class that VOC does not have"
    zero = Voc(tmp_path, from_zero=True).sample(0)
    assert zero.truth.boxes[1].tolist() == [1, 2, 10, 20]


def test_lists_classes_and_points(tmp_path: Path) -> None:
    write(tmp_path, "a", object_("cell"), object_("cell", (5, 5, 5, 5)))
    write(tmp_path, "b", object_("dot"))
    (tmp_path / "ImageSets/Main/val.txt").write_text("a 1\n\n")
    data = parse_data(f"voc:{tmp_path}:val")
    assert len(data) == 1
    assert data.classes == ("cell", "dot"), "labels are those of the whole folder"
    assert len(data.sample(0).truth) == 1
    assert isinstance(data, Voc)
    assert data.degenerate == [(str(tmp_path / "Annotations/a.xml"), 1)]
    with pytest.raises(MissingFile, match="no list") as caught:
        parse_data(f"voc:{tmp_path}:test")
    assert "val" in caught.value.help


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([object_(box=(1, 2, "x", 4))], r"object number 0 has bndbox/xmax = 'x'"),
        ([object_(), object_("")], "object number 1 has no name"),
        ([object_(box=(9, 2, 3, 4))], "xmax < xmin"),
        ([object_(box=("nan", 2, 3, 4))], "expected a number"),
        (["<object>"], "not an XML file"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, objects: list[str], message: str) -> None:
    write(tmp_path, "a", *objects)
    with pytest.raises(BadDataset, match=message) as caught:
        Voc(tmp_path)
    assert "a.xml" in caught.value.message


def test_yolo_text_files(tmp_path: Path) -> None:
    (tmp_path / "images/x").mkdir(parents=True)
    (tmp_path / "labels/x").mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"images/x/{name}.png"), np.zeros((40, 80, 3), np.uint8))
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    label = tmp_path / "labels/x/a.txt"
    label.write_text("1 0.5 0.5 0.5 0.25\n0 0.1 0.2 0.3 0.2 0.3 0.6\n")
    spec = f"yolo:{tmp_path}/images:{tmp_path}/names.txt"
    first, second = (parse_data(spec).sample(i) for i in (0, 1))
    np.testing.assert_allclose(first.truth.boxes, [[20, 15, 60, 25], [8, 8, 24, 24]], atol=1e-4)
    assert first.truth.labels.tolist() == [1, 0]
    assert len(second.truth) == 0
    wrong = {"1 2 3": "five finite", "7 .1 .1 .1 .1": "2 names", "0 5 5 9 9": "shares", "x": "line of numbers"}
    for text, message in wrong.items():
        label.write_text(text)
        with pytest.raises(BadDataset, match=message) as caught:
            parse_data(spec)
        assert "a.txt:1" in caught.value.message
    assert len(parse_data(f"folder:{tmp_path}/images")) == 2


def test_wrappers(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("star\ncircle\n")
    few = parse_data(f"scenes:4:1:64x64#@{names}")
    assert few.classes == ("star", "circle")
    whole = Scenes(4, 1, size=(64, 64))
    for i in range(4):
        expected = [whole.classes[v] for v in whole.sample(i).truth.labels if whole.classes[v] in few.classes]
        assert [few.classes[v] for v in few.sample(i).truth.labels] == expected
    both = parse_data("2*scenes:2:1:64x64 + scenes:3:5:64x64")
    assert len(both) == 7
    assert [both.sample(i).id for i in (0, 3, 6)] == [1, 4, 7]
    assert np.array_equal(both.sample(3).pixels(), both.sample(1).pixels())
    assert np.array_equal(both.sample(6).pixels(), Scenes(3, 5, size=(64, 64)).sample(2).pixels())
    with pytest.raises(BadDataset, match="no class 'stra'") as caught:
        parse_data("scenes:2#stra")
    assert "star" in caught.value.help
    with pytest.raises(BadDataset, match="different classes"):
        parse_data("scenes:2 + scenes:2#star")
    assert len(parse_data("python:tests.data.test_voc:two_scenes")) == 2
    with pytest.raises(BadDataset, match="no Dataset"):
        parse_data("python:builtins:dict")


def two_scenes() -> Dataset:
    """A custom dataset."""
    return Scenes(2)


def test_rare_classes_come_more_often(tmp_path: Path) -> None:
    for i in range(16):
        write(tmp_path, f"{i:02}", object_("common"), *([object_("rare")] if i == 0 else []))
    write(tmp_path, "empty")
    data = Voc(tmp_path)
    factors = repeat_factors(data, 0.5)
    assert factors.tolist() == pytest.approx([(0.5 * 17) ** 0.5, *[1.0] * 16])
    order = Order(Balanced(0.5), data, seed=0)
    assert order.length == round(16 + 8.5**0.5)
    seen = [order(i) for i in range(40 * order.length)]
    assert seen.count(0) / 40 == pytest.approx(8.5**0.5, abs=0.15)
    assert seen.count(5) / 40 == pytest.approx(1.0, abs=0.1)


def test_classes_take_turns(tmp_path: Path) -> None:
    for i in range(8):
        write(tmp_path, f"{i}", object_("rare" if i == 0 else "common"))
    order = Order(ClassAware(), Voc(tmp_path), seed=0)
    seen = [order(i) for i in range(80)]
    assert seen.count(0) == 40
    assert seen == [Order(ClassAware(), Voc(tmp_path), seed=0)(i) for i in range(80)]
    write(tmp_path / "none", "a")
    with pytest.raises(BadDataset, match="needs objects"):
        Order(ClassAware(), Voc(tmp_path / "none"), seed=0)
    assert sorted(Order(Shuffled(), Scenes(5), 0)(i) for i in range(5)) == [0, 1, 2, 3, 4]


@pytest.mark.data
def test_blood_cells(shared: Callable[[str], Path]) -> None:
    folder = shared("data/bccd") / "BCCD"
    splits = {name: Voc(folder, name) for name in ("train", "val", "trainval", "test")}
    assert {n: len(d) for n, d in splits.items()} == {"train": 205, "val": 87, "trainval": 292, "test": 72}
    data = Voc(folder)
    counts = np.bincount(np.concatenate([data.sample(i).truth.labels for i in range(len(data))]))
    assert dict(zip(data.classes, counts.tolist(), strict=True)) == {"Platelets": 361, "RBC": 4155 - 2, "WBC": 372}
    assert sorted(Path(f).stem for f, _ in data.degenerate) == ["BloodImage_00338", "BloodImage_00343"]
    assert data.sample(0).pixels().shape == (480, 640, 3)


@pytest.mark.data
def test_fixtures_of_another_tool(shared: Callable[[str], Path]) -> None:
    first = Voc(shared("data/dataset-format-fixtures") / "voc_dataset/voc_dataset1")
    assert len(first) == 1
    assert first.sample(0).truth.boxes.tolist() == [[0, 1, 3, 4], [3, 4, 6, 7]], "a part is no object"
    assert [first.classes[i] for i in first.sample(0).truth.labels] == ["cat", "person"]
