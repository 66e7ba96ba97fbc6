"""Drawn scenes: exact boxes, visible figures, one scene per seed, export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from graphdet.data import SCENE_CLASSES, CocoDetection, Dataset, Scenes, parse_data, scene, write_coco
from graphdet.data.figures import SHAPES, Figure, figure
from graphdet.data.scenes import MAX_IOU, MIN_EXTENT, MIN_VISIBLE, layout, truth_of
from graphdet.errors import BadDataset

SIZE = (200, 260)


def layouts() -> list[list[Figure]]:
    return [layout(np.random.default_rng(seed), SIZE, 8) for seed in range(40)]


def test_boxes_are_tight_around_the_drawn_masks() -> None:
    for figures in layouts():
        for shape, box in zip(figures, truth_of(figures, SIZE).boxes, strict=True):
            # Drawn eight times larger, since the tip of a star covers little of its outermost pixels.
            large = Figure(shape.label, tuple(c * 8 for c in shape.contours)).mask((SIZE[0] * 8, SIZE[1] * 8))
            rows, columns = (np.flatnonzero(large.max(axis=axis) > 0.05) for axis in (1, 0))
            drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 8
            assert np.abs(drawn - box).max() <= 0.4


@pytest.mark.parametrize("label", range(len(SHAPES)))
def test_masks_have_the_area_of_the_outline(label: int) -> None:
    for seed in range(5):
        shape = figure(np.random.default_rng(seed), label, (100.3, 80.6), 60)
        x1, y1, x2, y2 = shape.box()
        assert max(x2 - x1, y2 - y1) == pytest.approx(60)
        assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((100.3, 80.6))
        assert shape.mask(SIZE).sum() == pytest.approx(shape.area(), rel=0.03)


def test_figures_stay_visible() -> None:
    for figures in layouts():
        seen = np.zeros(SIZE, int)
        for number, shape in enumerate(figures, 1):
            seen[shape.mask(SIZE) > 0.5] = number
        for number, shape in enumerate(figures, 1):
            assert (seen == number).sum() >= MIN_VISIBLE * shape.area()


def test_extents_and_overlaps_keep_their_limits() -> None:
    for figures in layouts():
        for shape in figures:
            x1, y1, x2, y2 = shape.box()
            assert MIN_EXTENT - 1e-6 <= max(x2 - x1, y2 - y1) <= min(SIZE) / 2 + 1e-6
        boxes = truth_of(figures, SIZE).boxes
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
                assert shared <= (MAX_IOU + 1e-5) * (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def test_a_figure_outside_the_image_paints_nothing() -> None:
    shape = figure(np.random.default_rng(0), 0, (-50, 20), 30)
    assert shape.patch(SIZE) is None
    assert shape.box_inside(SIZE) == (0, 0, 0, 0)
    assert not shape.mask(SIZE).any()


def test_a_seed_gives_one_scene() -> None:
    first, again = (scene(np.random.default_rng(5), SIZE) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1].boxes, again[1].boxes)
    other, _ = scene(np.random.default_rng(6), SIZE)
    assert (first[0] != other).any()


def test_dataset() -> None:
    dataset = Scenes(30, seed=2, size=(96, 128))
    assert isinstance(dataset, Dataset)
    assert dataset.classes == SCENE_CLASSES
    assert len(dataset.classes) == 5
    samples = [dataset.sample(i) for i in range(len(dataset))]
    for sample in samples:
        assert sample.pixels().shape == (96, 128, 3)
        assert sample.pixels().dtype == np.uint8
        assert sample.truth.boxes.dtype == np.float32
        assert len(sample.truth.boxes) <= 8
    np.testing.assert_array_equal(samples[11].pixels(), dataset.sample(11).pixels())
    labels = np.concatenate([s.truth.labels for s in samples])
    assert set(labels.tolist()) == set(range(5))
    assert [s.id for s in samples] == list(range(1, 31))
    with pytest.raises(IndexError):
        dataset.sample(30)


def test_objects_stand_out_from_the_background() -> None:
    differences = []
    for seed in range(20):
        figures = layout(np.random.default_rng(seed), SIZE, 1)
        image, _ = scene(np.random.default_rng(seed), SIZE, max_objects=1)
        for shape in figures:
            inside = shape.mask(SIZE) > 0.9
            x1, y1, x2, y2 = (int(v) for v in truth_of([shape], SIZE).boxes[0])
            around = np.zeros(SIZE, bool)
            around[max(0, y1 - 4) : y2 + 4, max(0, x1 - 4) : x2 + 4] = True
            around &= shape.mask(SIZE) == 0
            differences.append(np.abs(image[inside].mean(axis=0) - image[around].mean(axis=0)).max())
    assert np.median(differences) > 40


def test_no_objects_and_small_images() -> None:
    image, truth = scene(np.random.default_rng(0), (32, 32), max_objects=0)
    assert image.shape == (32, 32, 3)
    assert truth.boxes.shape == (0, 4)
    scene(np.random.default_rng(0), (32, 500))
    with pytest.raises(BadDataset, match="too small"):
        scene(np.random.default_rng(0), (31, 500))


def test_coco_export_reads_back(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "set", 6, seed=4, size=(96, 128))
    dataset = parse_data(f"coco:{tmp_path}/set/images:{file}")
    assert isinstance(dataset, CocoDetection)
    assert dataset.classes == SCENE_CLASSES
    assert len(dataset) == 6
    for index in range(6):
        expected, read = Scenes(6, 4, (96, 128)).sample(index), dataset.sample(index)
        assert (read.id, read.size) == (expected.id, expected.size)
        np.testing.assert_allclose(read.truth.boxes, expected.truth.boxes, atol=1e-4)
        np.testing.assert_array_equal(read.truth.labels, expected.truth.labels)
        difference = np.abs(read.pixels().astype(int) - expected.pixels().astype(int))
        assert difference.mean() < 8
    assert all(note["area"] > 0 for note in json.loads(file.read_text())["annotations"])
