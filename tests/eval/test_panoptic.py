"""Panoptic quality: figures of COCO's evaluation, an independent implementation, and each rule by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphdet.data import PanopticFile, write_panoptic
from graphdet.errors import BadDataset
from graphdet.eval import PanopticEvaluator, PanopticResult, evaluate_panoptic
from graphdet.records import Array, Panoptic

CLASSES, THINGS = ("person", "dog", "wall"), (True, True, False)
CATEGORIES = [{"id": i, "name": n, "isthing": int(t)} for i, (n, t) in enumerate(zip(CLASSES, THINGS, strict=True))]


def panoptic(size: tuple[int, int], *segments: tuple[int, tuple[int, int, int, int], bool]) -> Panoptic:
    """Segments of label, box (x, y, width, height) and crowd, drawn in order; ids count from 1."""
    ids = np.zeros(size, np.int32)
    for number, (_, (x, y, w, h), _) in enumerate(segments, 1):
        ids[y : y + h, x : x + w] = number
    labels, crowd = np.array([s[0] for s in segments], np.int64), np.array([s[2] for s in segments], np.bool_)
    return Panoptic(ids, np.arange(1, len(segments) + 1), labels, crowd)


def score(*pairs: tuple[Panoptic, Panoptic]) -> PanopticResult:
    evaluator = PanopticEvaluator(CLASSES, THINGS)
    for truth, found in pairs:
        evaluator.add(truth, found)
    return evaluator.summarize()


def counts(truth: Panoptic, found: Panoptic, name: str) -> tuple[int, int, int]:
    one = score((truth, found)).per_class[name]
    return one.matched, one.wrong, one.missed


def test_figures_of_the_reference() -> None:
    """The field's reference states these, by COCO's evaluation, for these boxes on a wall."""
    whole = (2, (0, 0, 80, 60), False)
    truth = panoptic(
        (60, 80), whole, *((c, (x, 10, 10, h), False) for c, x, h in ((0, 10, 40), (0, 30, 40), (1, 50, 5)))
    )
    boxes = ((0, (11, 11, 10, 40), False), (0, (38, 10, 10, 40), False), (1, (51, 10, 10, 5), False))
    figures = score((truth, panoptic((60, 80), whole, *boxes))).figures()
    stated = {
        "all": (67.86874803219071, 80.89770126158936, 83.33333333333334),
        "things": (60.45252075318891, 79.9959505972869, 75.0),
        "stuff": (82.70120259019427, 82.70120259019427, 100.0),
    }
    for group, values in stated.items():
        assert [100 * v for v in figures[group].values()] == pytest.approx(values, rel=1e-12)


def scattered(rng: np.random.Generator, void: float) -> Panoptic:
    """Random blocks of segments; of stuff there is at most one segment a class."""
    cells = rng.choice(7, (4, 5), p=[void, *[(1 - void) / 6] * 6]).astype(np.int32)
    ids = np.kron(cells, np.ones((6, 6), np.int32))
    ids = np.where(rng.random(ids.shape) < 0.1, np.roll(ids, 3, 1), ids)
    return of_map(ids)


def of_map(ids: Array) -> Panoptic:
    present = np.setdiff1d(np.unique(ids), [0])
    return Panoptic(ids, present, np.array([0, 0, 0, 0, 1, 1, 2])[present], np.zeros(len(present), np.bool_))


def as_channels(one: Panoptic) -> Array:
    label = np.full(one.map.max() + 1, 9)
    label[one.ids] = one.labels
    return np.stack([label[one.map], one.map], -1)[None]


def test_equal_to_an_independent_implementation() -> None:
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchmetrics.detection")
    rng = np.random.default_rng(0)
    other = detection.PanopticQuality(
        things={0, 1}, stuffs={2}, allow_unknown_preds_category=True, return_sq_and_rq=True, return_per_class=True
    )
    pairs = []
    for _ in range(40):
        truth, found = scattered(rng, 0.2), scattered(rng, 0.0)
        if rng.random() < 0.7:
            moved = np.roll(truth.map, 1, 0)
            found = of_map(np.where(moved > 0, moved, found.map))
        pairs.append((truth, found))
        other.update(torch.from_numpy(as_channels(found)), torch.from_numpy(as_channels(truth)))
    mine = np.array([list(q.figures.values()) for q in score(*pairs).per_class.values()])
    assert ((mine > 0.05) & (mine < 0.95)).all()
    assert np.allclose(mine, other.compute().numpy(), rtol=1e-6), "theirs are single precision"


def test_a_pair_needs_more_than_half() -> None:
    truth = panoptic((1, 30), (2, (0, 0, 30, 1), False), (0, (0, 0, 15, 1), False))
    assert counts(truth, panoptic((1, 30), (0, (5, 0, 15, 1), False)), "person") == (0, 1, 1), "IoU is 10/20"
    assert counts(truth, panoptic((1, 30), (0, (4, 0, 15, 1), False)), "person") == (1, 0, 0), "IoU is 11/19"
    assert counts(truth, panoptic((1, 30), (1, (0, 0, 15, 1), False)), "person") == (0, 0, 1), "another class"


def test_void_is_no_error() -> None:
    truth = panoptic((1, 30), (0, (0, 0, 10, 1), False))
    wide = panoptic((1, 30), (0, (0, 0, 30, 1), False))
    assert score((truth, wide)).per_class["person"].iou == 1.0, "pixels on void do not count"
    half = panoptic((1, 30), (1, (5, 0, 10, 1), False))
    most = panoptic((1, 30), (1, (4, 0, 13, 1), False))
    assert counts(truth, half, "dog") == (0, 1, 0), "half on void: wrong"
    assert counts(truth, most, "dog") == (0, 0, 0), "more than half on void: ignored"


def test_crowds_excuse_their_class_alone() -> None:
    truth = panoptic((1, 30), (0, (0, 0, 20, 1), True), (2, (20, 0, 10, 1), False))
    assert counts(truth, panoptic((1, 30), (0, (2, 0, 9, 1), False)), "person") == (0, 0, 0)
    assert counts(truth, panoptic((1, 30), (1, (2, 0, 9, 1), False)), "dog") == (0, 1, 0)
    assert counts(truth, panoptic((1, 30), (0, (15, 0, 10, 1), False)), "person") == (0, 1, 0), "half is not enough"
    assert counts(truth, truth, "person") == (0, 0, 0), "a crowd is no partner"
    two = panoptic((1, 30), (0, (0, 0, 10, 1), True), (0, (10, 0, 10, 1), True), (2, (20, 0, 10, 1), False))
    assert counts(two, panoptic((1, 30), (0, (0, 0, 9, 1), False)), "person") == (0, 1, 0), "the last crowd counts"
    assert counts(two, panoptic((1, 30), (0, (11, 0, 9, 1), False)), "person") == (0, 0, 0)


def test_nothing_is_an_ordinary_case() -> None:
    none, one = panoptic((4, 4)), panoptic((4, 4), (1, (0, 0, 2, 2), False))
    assert score().figures()["all"] == score((none, none)).figures()["all"] == {"PQ": -1.0, "SQ": -1.0, "RQ": -1.0}
    assert score((one, none)).figures()["all"] == {"PQ": 0.0, "SQ": 0.0, "RQ": 0.0}
    assert counts(none, one, "dog") == (0, 0, 0), "all of it is void"
    figures = score((one, one)).as_dict()
    assert figures["things"] == {"PQ": 1.0, "SQ": 1.0, "RQ": 1.0}
    assert figures["stuff"]["PQ"] == figures["per_class"]["wall"]["PQ"] == -1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (panoptic((3, 4)), "segments on"),
        (panoptic((4, 4), (3, (0, 0, 2, 2), False)), "outside the 3 classes"),
        (replace(panoptic((4, 4)), map=np.full((4, 4), 5, np.int32)), "segment 5 is in the map"),
    ],
)
def test_what_cannot_be_compared(wrong: Panoptic, message: str) -> None:
    with pytest.raises(BadDataset, match=message):
        score((panoptic((4, 4)), wrong))


def test_results_are_of_the_annotated_images(tmp_path: Path) -> None:
    one = panoptic((4, 4), (1, (0, 0, 2, 2), False))
    write_panoptic(tmp_path / "truth.json", [(1, one), (2, one)], CATEGORIES)
    truth = PanopticFile(tmp_path / "truth.json")
    write_panoptic(tmp_path / "found.json", [(2, one)], CATEGORIES)
    with pytest.raises(BadDataset, match="image 1 has no result"):
        evaluate_panoptic(truth, tmp_path / "found.json")
    write_panoptic(tmp_path / "found.json", [(2, one), (1, one), (5, one)], CATEGORIES)
    with pytest.raises(BadDataset, match="image 5 is not annotated"):
        evaluate_panoptic(truth, tmp_path / "found.json")


@pytest.mark.data
def test_sample_of_coco_against_itself(shared: Callable[[str], Path]) -> None:
    file = shared("data/panoptic-sample/sample_data") / "panoptic_examples.json"
    result = evaluate_panoptic(PanopticFile(file), file)
    assert result.images == 2
    assert result.figures() == {g: {"PQ": 1.0, "SQ": 1.0, "RQ": 1.0} for g in ("all", "things", "stuff")}
    assert sum(q.matched for q in result.per_class.values()) == 47, "50 segments less 3 crowds"
