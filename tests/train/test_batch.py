"""Batches of the training graph: what they hold, and that boxes move with the pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from graphdet.data import Sample, Scenes
from graphdet.data.order import Balanced, Order
from graphdet.data.transforms import Flip, Jitter, Rescale, Transform
from graphdet.errors import BadDataset, BadRecipe
from graphdet.records import Array, Preprocess, Truth
from graphdet.runtime.preprocess import prepare
from graphdet.train.batch import Batches, Plan, Remembered, batch_inputs, prefetched

SPEC = Preprocess(size=(64, 96), pad=114.0)


def blocks(boxes: list[tuple[int, ...]], size: tuple[int, int] = (64, 96), crowd: tuple[int, ...] = ()) -> Sample:
    """A grey image with a white block at every box."""
    image = np.full((*size, 3), 60, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    flags = np.array([i in crowd for i in range(len(boxes))], np.bool_)
    truth = Truth(np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes), dtype=np.int64), flags)
    return Sample(image, 1, size, truth)


def white_box(image: Array) -> tuple[float, ...]:
    """The extent of what is brighter than the middle of block and ground."""
    rows, columns = np.nonzero(image.min(axis=2) > 160)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    "transform", [Flip(1, 0), Flip(0, 1), Flip(0, 0, 1), Jitter(1.0), Rescale(1.0), Rescale(1.0, 1.2, 1.4)]
)
def test_boxes_move_with_the_pixels(transform: Transform) -> None:
    sample = blocks([(30, 20, 60, 41)])
    for seed in range(12):
        changed = transform(sample, np.random.default_rng(seed))
        assert changed.pixels().shape == sample.pixels().shape
        assert changed.truth.boxes.dtype == np.float32
        np.testing.assert_allclose(white_box(changed.pixels()), changed.truth.boxes[0], atol=1.01)
        assert changed.truth.labels.tolist() == [0]
    assert white_box(sample.pixels()) == (30, 20, 60, 41), "the original is left as it was"


def test_flip_is_exact_and_its_own_inverse() -> None:
    sample, flip = blocks([(3, 20, 60, 41), (70, 0, 96, 5)]), Flip(1, 0)
    once = flip(sample, np.random.default_rng(0))
    assert once.truth.boxes.tolist() == [[36, 20, 93, 41], [0, 0, 26, 5]]
    twice = flip(once, np.random.default_rng(0))
    assert np.array_equal(twice.pixels(), sample.pixels())
    assert np.array_equal(twice.truth.boxes, sample.truth.boxes)


def test_rescale_drops_what_leaves_the_window() -> None:
    sample, window = blocks([(0, 0, 8, 8), (88, 56, 96, 64)]), Rescale(1.0, 1.9, 2.0)
    counts = {len(window(sample, np.random.default_rng(seed)).truth.labels) for seed in range(20)}
    assert counts <= {0, 1}, "a window half as wide cannot hold two opposite corners"
    for seed in range(20):
        boxes = window(sample, np.random.default_rng(seed)).truth.boxes
        assert (boxes >= 0).all()
        assert (boxes <= (96, 64, 96, 64)).all()


@pytest.mark.parametrize("transform", [Flip(0, 0, 1), Jitter(1.0), Rescale(1.0)])
def test_no_objects(transform: Transform) -> None:
    changed = transform(blocks([]), np.random.default_rng(0))
    assert changed.truth.boxes.shape == (0, 4)


def test_inputs_are_the_engines_and_truth_is_padded() -> None:
    samples = [
        blocks([(10, 10, 20, 30)], (128, 96)),
        blocks([]),
        blocks([(1, 2, 3, 4), (5, 6, 7, 8), (0, 0, 9, 9)], crowd=(1,)),
    ]
    inputs = batch_inputs(samples, SPEC)
    ready = prepare([s.image for s in samples], SPEC)
    assert np.array_equal(inputs["pixels"], ready.pixels)
    assert np.array_equal(inputs["geometry"], ready.geometry)
    assert inputs["truth_count"].tolist() == [1, 0, 2]
    assert inputs["truth_boxes"].shape == (3, 2, 4)
    assert inputs["truth_boxes"][0, 0].tolist() == [5, 5, 10, 15], "the tall image is halved"
    assert inputs["truth_labels"].tolist() == [[0, 0], [0, 0], [0, 2]], "the crowd is left out"
    assert inputs["truth_crowd_count"].tolist() == [0, 0, 1]
    assert inputs["truth_crowds"].shape == (3, 1, 4)
    assert inputs["truth_crowds"][2, 0].tolist() == [5, 6, 7, 8]


def test_batch_without_any_object() -> None:
    inputs = batch_inputs([blocks([]), blocks([])], SPEC)
    assert inputs["truth_boxes"].shape == (2, 0, 4)
    assert inputs["truth_count"].tolist() == [0, 0]


@dataclass(frozen=True)
class Numbered:
    """Images whose pixels are their position."""

    count: int
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int) -> Sample:
        """An image of one grey."""
        return Sample(np.full((64, 96, 3), index, np.uint8), index + 1, (64, 96), blocks([]).truth)


def test_every_epoch_shows_every_image_once_in_a_new_order() -> None:
    batches = Batches(Numbered(6), SPEC, batch=4, seed=3)
    seen = [int(p[0, 0, 0]) for step in range(6) for p in batches(step)[0]["pixels"]]
    epochs = [seen[i : i + 6] for i in range(0, 24, 6)]
    assert all(sorted(e) == list(range(6)) for e in epochs)
    assert len({tuple(e) for e in epochs}) > 1


def test_a_step_is_the_same_from_anywhere() -> None:
    batches = Batches(Scenes(5, size=(64, 96)), SPEC, 3, seed=1, plan=Plan((Flip(), Jitter(), Rescale()), (Flip(),), 3))
    for workers in (1, 3):
        with prefetched(batches, 2, workers) as stream:
            for step in (2, 3, 4):
                (found,) = next(stream)
                (expected,) = batches(step)
                assert all(np.array_equal(found[k], expected[k]) for k in expected)


def test_remembered_draws_once_and_keeps_to_its_limit() -> None:
    kept = Remembered(Numbered(3), 2 * 64 * 96 * 3)
    first = [kept.sample(i) for i in range(3)]
    again = [kept.sample(i) for i in range(3)]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False]
    assert np.array_equal(first[2].pixels(), again[2].pixels())


def test_errors_of_workers_arrive() -> None:
    @dataclass(frozen=True)
    class Broken(Numbered):
        def sample(self, index: int) -> Sample:
            raise BadDataset("broken")

    with pytest.raises(BadDataset, match="broken"), prefetched(Batches(Broken(2), SPEC, 1), 0, 1) as stream:
        next(stream)


@dataclass(frozen=True)
class Deadly(Numbered):
    """Ends the process that reads it."""

    def sample(self, index: int) -> Sample:
        """Never comes back."""
        os._exit(3)


@pytest.mark.slow
def test_processes_give_the_same_batches_and_say_what_failed() -> None:
    data = Scenes(5, size=(64, 96))
    order = Order(Balanced(0.5), data, 1)
    batches = Batches(Remembered(data, 1 << 20), SPEC, 3, seed=1, plan=Plan((Flip(), Jitter()), (), 3), order=order)
    with prefetched(batches, 2, 2, processes=True) as stream:
        for step in (2, 3, 4):
            (found,) = next(stream)
            (expected,) = batches(step)
            assert all(np.array_equal(found[k], expected[k]) for k in expected)
    with (
        pytest.raises(BadRecipe, match="died"),
        prefetched(Batches(Deadly(2), SPEC, 1), 0, 1, processes=True) as stream,
    ):
        next(stream)

    @dataclass(frozen=True)
    class Local(Numbered):
        pass

    with (
        pytest.raises(BadRecipe, match="cannot be sent"),
        prefetched(Batches(Local(2), SPEC, 1), 0, 1, processes=True) as stream,
    ):
        next(stream)


def test_an_empty_dataset_is_refused() -> None:
    with pytest.raises(BadDataset, match="no images"):
        Batches(Numbered(0), SPEC, 1)


def test_parts_and_processes_share_a_batch_in_order() -> None:
    def greys(**options: Any) -> list[list[int]]:
        parts = Batches(Numbered(8), SPEC, 8, seed=3, **options)(0)
        return [[int(p[0, 0, 0]) for p in part["pixels"]] for part in parts]

    (whole,) = greys()
    assert greys(parts=4) == [whole[i : i + 2] for i in (0, 2, 4, 6)]
    assert greys(shard=(1, 2), parts=2) == [whole[4:6], whole[6:8]]


def test_sizes_change_every_few_steps_and_are_the_same_everywhere() -> None:
    plan = Plan(sizes=((64, 96), (32, 48), (96, 128)), resize_every=2)
    shapes = [Batches(Numbered(2), SPEC, 1, plan=plan)(step)[0]["pixels"].shape[2:] for step in range(12)]
    assert all(shapes[i] == shapes[i + 1] for i in range(0, 12, 2))
    assert len(set(shapes)) > 1


def test_masks_lie_on_their_objects() -> None:
    sample = blocks([(10, 8, 40, 30), (50, 20, 90, 60)])
    outline = np.array([[10, 8], [40, 8], [40, 30], [10, 30]], np.float32)
    drawn = np.zeros((64, 96), np.uint8)
    drawn[20:60, 50:90] = 1
    sample = replace(sample, truth=replace(sample.truth, masks=((outline,), drawn)))
    inputs = batch_inputs([sample, blocks([(0, 0, 4, 4)], (32, 48))][:1], Preprocess(size=(32, 48)), masks=True)
    masks = inputs["truth_masks"]
    assert masks.shape == (1, 2, 32, 64)
    for mask, box in zip(masks[0], inputs["truth_boxes"][0], strict=True):
        x1, y1, x2, y2 = (int(v) for v in box)
        assert mask[y1:y2, x1:x2].all()
        assert mask.sum() == (y2 - y1) * (x2 - x1)
    with pytest.raises(BadDataset, match="has no masks"):
        batch_inputs([blocks([(0, 0, 4, 4)])], SPEC, masks=True)


def test_an_image_of_another_size_than_its_record_is_refused() -> None:
    @dataclass(frozen=True)
    class Wrong(Numbered):
        def sample(self, index: int) -> Sample:
            return replace(super().sample(index), size=(96, 64))

    with pytest.raises(BadDataset, match=r"annotations say \(96, 64\)"):
        Remembered(Wrong(1), 0).sample(0)
