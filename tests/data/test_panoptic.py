"""COCO's panoptic format: ids in colours, segments as objects, results in the same form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from graphdet.data import CocoPanoptic, Dataset, PanopticFile, parse_data, read_image, write_panoptic
from graphdet.errors import BadDataset, BadImage, GdError, MissingFile
from graphdet.records import Panoptic

CATEGORIES = [{"id": 7, "name": "cat", "isthing": 1}, {"id": 90, "name": "sky", "isthing": 0}]


def made() -> Panoptic:
    """Two segments and void: ids that need all three bytes of a colour, and none but the first."""
    ids = np.zeros((6, 8), np.int32)
    ids[1:4, 2:7], ids[4:] = 5, 0x30201
    return Panoptic(ids, np.array([0x30201, 5]), np.array([1, 0]), np.array([False, True]))


def files(folder: Path) -> Path:
    """A dataset of that image."""
    write_panoptic(folder / "p.json", [(3, made())], CATEGORIES)
    content = json.loads((folder / "p.json").read_text())
    content["images"] = [{"id": 3, "file_name": "a.png", "height": 6, "width": 8}]
    (folder / "p.json").write_text(json.dumps(content))
    cv2.imwrite(str(folder / "a.png"), np.full((6, 8, 3), 9, np.uint8))
    return folder / "p.json"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_panoptic(
        tmp_path / "found.json",
        [(3, made()), (4, Panoptic(np.zeros((2, 2), np.int32), *np.zeros((3, 0), np.int64)))],
        CATEGORIES,
    )
    back = PanopticFile(tmp_path / "found.json")
    one = back.panoptic(3)
    assert np.array_equal(one.map, made().map)
    assert (one.ids.tolist(), one.labels.tolist(), one.crowd.tolist()) == ([0x30201, 5], [1, 0], [False, True])
    assert (back.classes, back.things) == (("cat", "sky"), (True, False))
    assert len(back.panoptic(4)) == 0
    pixel = read_image(tmp_path / "found/3.png")[5, 0]
    assert pixel.tolist() == [3, 2, 1], "blue, green, red: the highest byte first"
    info = json.loads((tmp_path / "found.json").read_text())["annotations"][0]["segments_info"][1]
    assert info == {"id": 5, "category_id": 7, "iscrowd": 1, "area": 15, "bbox": [2, 1, 5, 3]}


def test_segments_are_objects(tmp_path: Path) -> None:
    data = parse_data(f"panoptic:{tmp_path}:{files(tmp_path)}")
    assert isinstance(data, Dataset)
    truth = data.sample(0).truth
    assert truth.boxes.tolist() == [[0, 4, 8, 6], [2, 1, 7, 4]]
    assert (truth.labels.tolist(), truth.crowd.tolist()) == ([1, 0], [False, True])
    assert truth.masks is not None
    assert [int(np.asarray(m).sum()) for m in truth.masks] == [16, 15]
    assert data.sample(0).pixels().shape == (6, 8, 3)


def note(content: Any) -> Any:
    return content["annotations"][0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("annotations"), "'annotations' is missing"),
        (lambda c: c.pop("images"), "'images' is missing"),
        (lambda c: c["categories"][0].pop("isthing"), "category 7 has no 'isthing'"),
        (lambda c: note(c).pop("segments_info"), "annotation number 0 has no usable 'segments_info'"),
        (lambda c: c["annotations"].append(note(c)), "image 3 is annotated more than once"),
        (lambda c: note(c).update(image_id=4), "annotation of image 4, which"),
        (lambda c: note(c)["segments_info"][0].update(id=0), "image 3: segment id 0 is outside"),
        (lambda c: note(c)["segments_info"][0].update(id=5), "image 3: segment 5 occurs more than once"),
        (lambda c: note(c)["segments_info"][0].update(category_id=8), "segment 197121 is of unknown category 8"),
        (lambda c: note(c)["segments_info"].pop(), "segment 5 is in the PNG, but not in the json"),
        (lambda c: note(c)["segments_info"][1].update(id=6), "segment 5 is in the PNG, but not in the json"),
        (lambda c: note(c)["segments_info"].append({"id": 6, "category_id": 7}), "segment 6 has no pixel in the PNG"),
        (lambda c: c["images"][0].update(height=7), "image 3 is 7x8 pixels, but its PNG is 6x8"),
        (lambda c: note(c).update(file_name="x.png"), "x.png' does not exist"),
    ],
)
def test_faults_name_file_and_record(tmp_path: Path, spoil: Callable[[Any], object], message: str) -> None:
    file = files(tmp_path)
    content = json.loads(file.read_text())
    spoil(content)
    file.write_text(json.dumps(content))
    with pytest.raises(GdError, match=message) as caught:
        CocoPanoptic(tmp_path, file).sample(0)
    assert isinstance(caught.value, BadImage if "x.png" in message else BadDataset)
    assert str(tmp_path) in str(caught.value)


def test_missing_places(tmp_path: Path) -> None:
    file = files(tmp_path)
    for words in ((tmp_path / "no", file), (tmp_path, tmp_path / "no.json"), (tmp_path, file, tmp_path / "no")):
        with pytest.raises(MissingFile):
            CocoPanoptic(*words)
    with pytest.raises(BadDataset, match="no segments of image 9"):
        PanopticFile(file).panoptic(9)


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    one = made()
    for ids, labels, message in (([1 << 24, 5], [1, 0], "segment ids outside"), ([9, 5], [2, 0], "labels outside")):
        wrong = Panoptic(one.map, np.array(ids), np.array(labels), one.crowd)
        with pytest.raises(BadDataset, match=message):
            write_panoptic(tmp_path / "x.json", [(1, wrong)], CATEGORIES)


@pytest.mark.data
def test_sample_of_coco(shared: Callable[[str], Path]) -> None:
    folder = shared("data/panoptic-sample/sample_data")
    file = folder / "panoptic_examples.json"
    data = CocoPanoptic(folder / "input_images", file)
    assert (len(data), len(data.classes), sum(data.segments.things)) == (2, 133, 80)
    listed = json.loads(file.read_text())
    void, crowds = [], 0
    for index, record in enumerate(listed["annotations"]):
        sample, found = data.sample(index), data.segments.panoptic(record["image_id"])
        void.append(int((found.map == 0).sum()))
        crowds += int(found.crowd.sum())
        channels = read_image(folder / "panoptic_examples_2ch_format" / record["file_name"])[..., ::-1]
        assert sample.truth.masks is not None
        for box, mask, info in zip(sample.truth.boxes, sample.truth.masks, record["segments_info"], strict=True):
            drawn = np.asarray(mask) > 0
            assert drawn.sum() == info["area"]
            assert (channels[drawn][:, 0] == info["category_id"]).all()
            assert [*box[:2], *(box[2:] - box[:2])] == info["bbox"]
    assert (void, crowds) == ([2712, 7189], 3)
