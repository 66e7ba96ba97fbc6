"""Transforms: boxes stay with their pixels, maps invert, and the figures of the definitions hold."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphdet.data import Sample
from graphdet.data import transforms as t
from graphdet.data.transforms.affine import rotation
from graphdet.data.transforms.move import bitmap, joined, move, scaling, translation
from graphdet.errors import BackendMissing, BadRecipe
from graphdet.records import Array, Truth

SIZE = (60, 90)
Box = tuple[int, int, int, int]


def scene(boxes: list[Box], size: tuple[int, int] = SIZE, *, masks: bool = True, ident: int = 1) -> Sample:
    """A dark image with a white block at every box, with outlines (even ones) and bitmaps, and a semantic map."""
    image, semantic = np.full((*size, 3), 40, np.uint8), np.zeros(size, np.uint8)
    found: list[tuple[Array, ...] | Array] = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        image[y1:y2, x1:x2], semantic[y1:y2, x1:x2] = 255, i + 1
        drawn = np.zeros(size, np.uint8)
        drawn[y1:y2, x1:x2] = 1
        found.append((np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32),) if i % 2 == 0 else drawn)
    count = len(boxes)
    truth = Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(count, dtype=np.int64),
        np.zeros(count, np.bool_),
        tuple(found) if masks else None,
    )
    return Sample(image, ident, size, truth, semantic)


def bright(image: Array) -> Array:
    """The smallest box around what is brighter than the middle of block and ground."""
    rows, columns = np.nonzero(image.min(axis=2) > 147)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


STILL = [
    *(
        t.Resize(((120, 80),)),
        t.Resize(((50, 50), (200, 120)), choose="range"),
        t.Resize(((64, 64),), keep_ratio=False),
    ),
    *(t.Resize(((80, 80),), ratio=(0.5, 2.0), interpolation=name) for name in ("bicubic", "area", "lanczos")),
    *(t.Flip(1.0), t.Flip(0, 1.0), t.Flip(0, 0, 1.0), t.Pad(divisor=32), t.Pad((100, 100)), t.Pad(square=True)),
    *(t.Crop((50, 80)), t.Crop((0.9, 0.9), "relative"), t.Crop((40, 60), "absolute_range"), t.Expand(chance=1.0)),
    *(t.Crop((0.8, 0.8), "relative_range"), t.Shift(8, chance=1.0), t.Rescale(1.0), t.Rescale(1.0, 1.2, 1.4)),
    *(t.LargeScaleJitter((64, 64), (0.8, 1.2)), t.Translate(9.0, chance=1.0), t.Translate(5.0, "vertical", chance=1.0)),
    t.MinIoUCrop(),
    t.CentreCrop((64, 64), fill=(40, 40, 40)),
]


@pytest.mark.parametrize("change", STILL, ids=lambda c: repr(c)[:60])
def test_boxes_masks_and_maps_stay_with_their_pixels(change: t.Transform) -> None:
    sample = replace(scene([(30, 18, 61, 42)]), semantic=scene([(30, 18, 61, 42)]).semantic)
    seen = 0
    for seed in range(8):
        found = change(sample, np.random.default_rng(seed))
        assert found.pixels().shape == (*found.size, 3)
        assert found.pixels().dtype == np.uint8
        assert found.truth.boxes.dtype == np.float32
        if not len(found.truth):
            continue
        seen += 1
        np.testing.assert_allclose(bright(found.pixels()), found.truth.boxes[0], atol=1.01)
        assert found.truth.masks is not None
        drawn = bitmap(found.truth.masks[0], found.size)
        np.testing.assert_allclose(bright(np.repeat(drawn[..., None] * 255, 3, 2)), found.truth.boxes[0], atol=1.01)
        assert found.semantic is not None
        assert (found.semantic == 1).sum() == pytest.approx(drawn.sum(), rel=0.12, abs=40)
    assert seen
    assert np.array_equal(sample.pixels(), scene([(30, 18, 61, 42)]).pixels()), "the original is left as it was"


@pytest.mark.parametrize(
    "change", [*STILL, t.Rotate(20, chance=1.0), t.RandomAffine(), t.Photometric()], ids=lambda c: repr(c)[:60]
)
def test_proposals_move_as_the_boxes_do(change: t.Transform) -> None:
    """An object's box as a proposal stays its box, but that it is cut off at the image's edges."""
    sample = scene([(30, 18, 61, 42), (1, 1, 9, 9)])
    sample = replace(sample, proposals=sample.truth.boxes[::-1])
    for seed in range(4):
        found = change(sample, np.random.default_rng(seed))
        limits = np.array([*found.size[::-1], *found.size[::-1]])
        assert found.proposals is not None
        assert found.proposals.dtype == np.float32
        for box in np.clip(found.truth.boxes, 0, limits):
            assert np.isclose(found.proposals, box, atol=1e-3).all(1).any()
        assert ((found.proposals >= 0) & (found.proposals <= limits)).all()
        assert (found.proposals[:, 2:] > found.proposals[:, :2]).all()


def test_mixed_images_bring_their_proposals() -> None:
    def carried(box: Box) -> Sample:
        one = scene([box])
        return replace(one, proposals=np.concatenate([one.truth.boxes, np.full((1, 4), [0, 0, 90, 60], np.float32)]))

    for change in (t.Mosaic((60, 90)), t.MixUp((60, 90), flip=1.0), t.CopyPaste(all=True)):
        found = change.mix(carried((30, 18, 61, 42)), np.random.default_rng(0), lambda: carried((2, 2, 50, 20)))
        assert found.proposals is not None
        for box in found.truth.boxes:
            assert np.isclose(found.proposals, box, atol=1e-3).all(1).any()
    np.testing.assert_array_equal(
        found.proposals, [[30, 18, 61, 42], [2, 2, 50, 20], [0, 0, 90, 60], [0, 0, 90, 60]], "the best of each first"
    )
    assert t.Mosaic((60, 90)).mix(scene([]), np.random.default_rng(0), lambda: scene([])).proposals is None


@pytest.mark.parametrize(
    "change",
    [t.Rotate(20, chance=1.0), t.Shear(0.2, chance=1.0), t.Shear(0.2, "vertical", chance=1.0), t.RandomAffine()],
    ids=repr,
)
def test_boxes_hold_what_was_turned(change: t.Transform) -> None:
    """A turned block touches all four sides of its box, but for the interpolation."""
    for seed in range(8):
        found = change(scene([(30, 20, 60, 40)]), np.random.default_rng(seed))
        if len(found.truth):
            np.testing.assert_allclose(bright(found.pixels()), found.truth.boxes[0], atol=2.6)


@pytest.mark.parametrize("change", [*STILL, t.Rotate(9), t.RandomAffine(), t.Photometric(), t.CutOut(shapes=((5, 5),))],
                         ids=lambda c: repr(c)[:60])  # fmt: skip
def test_images_without_objects(change: t.Transform) -> None:
    found = change(scene([]), np.random.default_rng(0))
    assert found.truth.boxes.shape == (0, 4)
    assert found.truth.masks == ()


numbers = st.floats(-40, 40)


@given(st.floats(-180, 180), st.floats(0.3, 3), numbers, numbers)
def test_geometry_inverts(degrees: float, scale: float, x: float, y: float) -> None:
    there = joined(translation(x, y), rotation(degrees), scaling(scale, scale))
    back = joined(scaling(1 / scale, 1 / scale), rotation(-degrees), translation(-x, -y))
    outline = scene([(30, 20, 60, 40)], masks=True)
    moved = move(move(outline, there, (8, 8)), back, SIZE)
    assert moved.truth.masks is not None
    np.testing.assert_allclose(moved.truth.masks[0][0], outline.truth.masks[0][0], atol=1e-3)  # type: ignore[index]
    boxes = moved.truth.boxes[0] - outline.truth.boxes[0]
    assert (boxes[:2] <= 1e-3).all(), "a box around a turned box holds it"
    assert (boxes[2:] >= -1e-3).all()


@given(st.integers(-50, 90), st.integers(-40, 70), st.booleans(), st.booleans())
def test_whole_pixels_move_exactly(x: int, y: int, across: bool, down: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    sample = replace(scene([(3, 4, 50, 44)]), image=image)
    matrix = np.array([[-1.0 if across else 1.0, 0, x], [0, -1.0 if down else 1.0, y]])
    there = move(sample, matrix, (70, 100), fill=7)
    for row, column in ((0, 0), (10, 20), (59, 89), (33, 7)):
        new = matrix[:, :2] @ (column + 0.5, row + 0.5) + matrix[:, 2] - 0.5
        if 0 <= new[0] < 100 and 0 <= new[1] < 70:
            assert np.array_equal(there.pixels()[int(new[1]), int(new[0])], image[row, column])
    assert there.truth.boxes[0, 2] - there.truth.boxes[0, 0] == 47


@given(
    st.tuples(st.integers(1, 130), st.integers(1, 130)), st.integers(1, 40), st.booleans(),
    st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 1), st.integers(0, 255),
)  # fmt: skip
def test_pad_adds_its_own_value_to_each_map(
    least: tuple[int, int], divisor: int, square: bool, fill: tuple[int, int, int], masks: int, semantic: int
) -> None:
    sample = scene([(3, 5, 20, 30), (40, 2, 90, 60)])
    found = t.Pad(least, divisor, square, fill, masks, semantic)(sample, np.random.default_rng(0))
    wanted = [max(a, b) for a, b in zip(SIZE, least, strict=True)]
    wanted = [max(wanted)] * 2 if square else wanted
    assert all(side % divisor == 0 and 0 <= side - low < divisor for side, low in zip(found.size, wanted, strict=True))
    np.testing.assert_array_equal(found.truth.boxes, sample.truth.boxes)
    assert found.truth.masks is not None
    assert sample.truth.masks is not None
    np.testing.assert_array_equal(found.truth.masks[0][0], sample.truth.masks[0][0])  # an outline
    assert found.semantic is not None
    pairs: list[tuple[Any, Any, Any]] = [
        (found.pixels(), sample.pixels(), fill),
        (found.truth.masks[1], sample.truth.masks[1], masks),
        (found.semantic, sample.semantic, semantic),
    ]
    for after, before, value in pairs:
        expected = np.broadcast_to(np.asarray(value, np.uint8), np.shape(after)).copy()
        expected[: SIZE[0], : SIZE[1]] = before
        np.testing.assert_array_equal(after, expected)


def test_flip_is_its_own_inverse_and_directions_exclude_each_other() -> None:
    sample, rng = scene([(3, 20, 60, 41), (70, 0, 90, 5)]), np.random.default_rng(0)
    for flip in (t.Flip(1), t.Flip(0, 1), t.Flip(0, 0, 1)):
        twice = flip(flip(sample, rng), rng)
        assert np.array_equal(twice.pixels(), sample.pixels())
        assert np.array_equal(twice.truth.boxes, sample.truth.boxes)
    kinds = set()
    for _ in range(60):
        found = t.Flip(0.25, 0.25, 0.25)(sample, rng).truth.boxes[0]
        kinds.add((found[0] != 3, found[1] != 20))
    assert kinds == {(False, False), (True, False), (False, True), (True, True)}
    with pytest.raises(BadRecipe):
        t.Flip(0.8, 0.8)


def test_resize_limits() -> None:
    """Long and short limits hold whatever the orientation; sizes are rounded to nearest."""
    rng = np.random.default_rng(0)
    assert t.Resize(((1333, 800),))(scene([], (480, 640)), rng).size == (800, 1067)
    assert t.Resize(((1333, 800),))(scene([], (640, 480)), rng).size == (1067, 800)
    assert t.Resize(((1333, 800),))(scene([], (200, 640)), rng).size == (417, 1333)
    sizes = {t.Resize(((90, 60), (45, 30)))(scene([]), rng).size for _ in range(20)}
    assert sizes == {(60, 90), (30, 45)}


def test_min_iou_crop_keeps_centres_and_overlaps() -> None:
    sample = scene([(5, 5, 30, 30), (50, 20, 85, 55)])
    for seed in range(30):
        found = t.MinIoUCrop((0.3,))(sample, np.random.default_rng(seed))
        assert len(found.truth)
        assert 0.29 * 60 <= found.size[0] <= 60


def test_crop_never_loses_all_objects() -> None:
    sample = scene([(30, 20, 50, 34)])
    for seed in range(30):
        assert len(t.Crop((20, 20))(sample, np.random.default_rng(seed)).truth) == 1
    sizes = {len(t.Crop((20, 20), allow_empty=True)(sample, np.random.default_rng(s)).truth) for s in range(30)}
    assert sizes == {0, 1}


def test_mosaic_shows_four_images_at_their_places() -> None:
    colours = iter((80, 130, 200))

    def draw() -> Sample:
        return replace(scene([(0, 0, 90, 60)]), image=np.full((*SIZE, 3), next(colours), np.uint8))

    first = replace(scene([(0, 0, 90, 60)]), image=np.full((*SIZE, 3), 20, np.uint8))
    found = t.Mosaic((60, 90), centre=(1.0, 1.0)).mix(first, np.random.default_rng(0), draw)
    assert found.size == (120, 180)
    assert found.truth.boxes.tolist() == [[0, 0, 90, 60], [90, 0, 180, 60], [0, 60, 90, 120], [90, 60, 180, 120]]
    assert [int(found.pixels()[y, x, 0]) for y, x in ((9, 9), (9, 99), (99, 9), (99, 99))] == [20, 80, 130, 200]


def test_mosaic_and_affine_keep_boxes_on_their_pixels() -> None:
    empty = scene([])
    for seed in range(12):
        rng = np.random.default_rng(seed)
        whole = t.Mosaic((60, 90)).mix(scene([(10, 10, 60, 50)]), rng, lambda: empty)
        if len(whole.truth):
            np.testing.assert_allclose(bright(whole.pixels()), whole.truth.boxes[0], atol=1.01)
        found = t.RandomAffine(0, 0.1, (0.5, 1.5), 0, border=(-30, -45))(whole, rng)
        assert found.size == (60, 90)
        if len(found.truth) and (found.truth.boxes[0, 2:] - found.truth.boxes[0, :2]).min() > 4:
            np.testing.assert_allclose(bright(found.pixels()), found.truth.boxes[0], atol=1.3)


def test_strict_affine_drops_slivers() -> None:
    sample = scene([(10, 10, 60, 50)])
    plain, strict = (t.RandomAffine(0, 0.9, (1, 1), 0, strict=s, area=0.9) for s in (False, True))
    counts = [sum(len(c(sample, np.random.default_rng(s)).truth) for s in range(30)) for c in (plain, strict)]
    assert counts[1] < counts[0]


def test_mixup_blends_half_and_half_and_keeps_both_truths() -> None:
    other = scene([(30, 20, 60, 40)])
    found = t.MixUp((60, 90), ratio=(1.0, 1.0), flip=0.0).mix(
        scene([(2, 2, 9, 9)]), np.random.default_rng(0), lambda: other
    )
    assert found.size == SIZE
    assert found.truth.boxes.tolist() == [[2, 2, 9, 9], [30, 20, 60, 40]]
    assert found.pixels()[30, 45].tolist() == [148, 148, 148]
    flipped = t.MixUp((60, 90), ratio=(1.0, 1.0), flip=1.0).mix(scene([]), np.random.default_rng(0), lambda: other)
    assert flipped.truth.boxes.tolist() == [[30, 20, 60, 40]]
    empty = t.MixUp((60, 90)).mix(scene([]), np.random.default_rng(0), lambda: scene([]))
    assert len(empty.truth) == 0


def test_copy_paste_cuts_what_it_covers() -> None:
    sample, other = scene([(0, 0, 40, 40), (50, 0, 80, 30)]), scene([(20, 0, 49, 40), (50, 0, 80, 29)])
    found = t.CopyPaste(all=True, mask=300).mix(sample, np.random.default_rng(0), lambda: other)
    boxes = found.truth.boxes.tolist()
    assert boxes[-2:] == [[20, 0, 49, 40], [50, 0, 80, 29]], "pasted objects come last"
    assert boxes[:-2] == [[0, 0, 20, 40]], "the first object is cut, the second one is covered"
    assert found.truth.masks is not None
    assert found.truth.masks[0].sum() == 800  # type: ignore[union-attr]
    plain = scene([(0, 0, 40, 40)], masks=False)
    assert t.CopyPaste().mix(plain, np.random.default_rng(0), lambda: other) is plain


def test_colours_by_their_definitions() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    sample = replace(scene([]), image=image)
    half = t.Brightness(0.5, chance=1.0)(sample, rng).pixels()
    assert np.array_equal(half, np.rint(image * 0.5).astype(np.uint8))
    assert np.ptp(t.Colour(0.0, chance=1.0)(sample, rng).pixels().astype(int), axis=2).max() == 0
    assert np.ptp(t.Contrast(0.0, chance=1.0)(sample, rng).pixels().astype(int)) == 0
    for change in (t.Brightness(1.0, 1.0), t.Contrast(1.0, 1.0), t.Colour(1.0, 1.0)):
        assert np.array_equal(change(sample, rng).pixels(), image)
    flat = np.sort(t.Equalize(1.0)(sample, rng).pixels()[..., 0].ravel())
    np.testing.assert_allclose(flat, np.linspace(0, 255, len(flat)), atol=6)
    unchanged = t.Photometric(0.0, (1, 1), (1, 1), 0.0)
    found = [np.sort(unchanged(sample, np.random.default_rng(s)).pixels().ravel()) for s in range(6)]
    assert all(np.abs(f.astype(int) - np.sort(image.ravel())).max() <= 1 for f in found)


def test_cut_out_fills_its_holes() -> None:
    sample = scene([(0, 0, 90, 60)])
    found = t.CutOut((3, 3), shapes=((10, 5),), fill=(1, 2, 3))(sample, np.random.default_rng(1)).pixels()
    holes = (found == (1, 2, 3)).all(2).sum()
    assert 0 < holes <= 150
    with pytest.raises(BadRecipe):
        t.CutOut()


def test_auto_augment_draws_a_whole_list() -> None:
    policy = t.AutoAugment(((t.Flip(1.0), t.Flip(0, 1.0)), (t.Brightness(0.0, 1.0),)))
    sample = scene([(3, 20, 60, 41)])
    found = {policy.mix(sample, np.random.default_rng(s), lambda: sample).pixels().sum() for s in range(12)}
    assert found == {0, sample.pixels().sum()}


def test_albumentations_moves_boxes_and_masks() -> None:
    pytest.importorskip("albumentations")
    change = t.Albumentations(({"name": "HorizontalFlip", "p": 1.0}, {"name": "OneOf", "transforms": [
        {"name": "RandomBrightnessContrast", "p": 1.0}], "p": 0.0}))  # fmt: skip
    proposals = np.array([[0, 0, 9, 9], [3, 20, 60, 41]], np.float32)
    found = change(replace(scene([(3, 20, 60, 41)]), proposals=proposals), np.random.default_rng(0))
    np.testing.assert_allclose(found.truth.boxes, [[30, 20, 87, 41]], atol=1e-3)
    assert found.proposals is not None
    np.testing.assert_allclose(found.proposals, [[81, 0, 90, 9], [30, 20, 87, 41]], atol=1e-3)
    assert found.truth.masks is not None
    assert bitmap(found.truth.masks[0], SIZE)[30, 40] == 1
    with pytest.raises(BadRecipe, match="no 'Flop'"):
        t.Albumentations(({"name": "Flop"},))(scene([]), np.random.default_rng(0))


def test_corruptions_name_their_package() -> None:
    change, sample = t.Corrupt("gaussian_noise", 3), scene([], (64, 64))
    if importlib.util.find_spec("imagecorruptions") is None:
        with pytest.raises(BackendMissing) as caught:
            change(sample, np.random.default_rng(0))
        assert "pip install imagecorruptions" in caught.value.help
    else:
        assert not np.array_equal(change(sample, np.random.default_rng(0)).pixels(), sample.pixels())
