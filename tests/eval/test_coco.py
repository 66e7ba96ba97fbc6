"""COCO figures: official results, limits, both backends, and the evaluation loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet.data import CocoDetection, Sample, Scenes, parse_data, write_coco
from graphdet.data.proposals import Proposals
from graphdet.data.transforms.move import bitmap
from graphdet.errors import BadDataset, BadInput, InternalError, MissingFile, UnknownName
from graphdet.eval import CocoEvaluator, CocoResult, evaluate, evaluate_results
from graphdet.eval.coco import annotations_of
from graphdet.records import Array, Detections, Truth
from graphdet.runtime.kernels import kernels

BACKENDS = ("pycocotools", "faster")
GOLDEN = {
    "bbox": ".504581 .696973 .572982 .585626 .519400 .501398 .386813 .593680 .595353 .639811 .566421 .564291",
    "segm": ".319545 .562288 .298927 .387374 .310183 .326934 .268230 .415449 .416839 .469450 .376759 .381472",
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if request.param == "faster":
        pytest.importorskip("faster_coco_eval")
    return str(request.param)


@pytest.mark.data
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_golden_figures(shared: Callable[[str], Path], iou_type: str, backend: str) -> None:
    folder = shared("data/cocoapi-evaluator-golden")
    results = folder / f"instances_val2014_fake{iou_type}100_results.json"
    result = evaluate_results(folder / "instances_val2014_100.json", results, iou_type, backend=backend)
    expected = [float(v) for v in GOLDEN[iou_type].split()]
    assert list(result.figures().values()) == pytest.approx(expected, abs=6e-7)
    known = [v for v in result.per_class.values() if v >= 0]
    assert len(result.per_class) == 80
    assert np.mean(known) == pytest.approx(result.AP)
    assert result.images == 100


def oracle(dataset: Scenes, keep: float = 1.0, shift: float = 0.0) -> Callable[[list[Any]], list[Detections]]:
    """An engine that knows the truth: finds the first share of the objects, displaced by `shift` pixels."""
    position = iter(range(len(dataset)))

    def engine(images: list[Any], /) -> list[Detections]:
        found = []
        for _ in images:
            sample = dataset.sample(next(position))
            count = round(keep * len(sample.truth.labels))
            boxes = sample.truth.boxes[:count] + np.float32(shift)
            scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
            found.append(Detections(boxes, scores, sample.truth.labels[:count], dataset.classes, sample.size))
        return found

    return engine


@dataclass(frozen=True)
class Drawn:
    """Masks that are bitmaps already."""

    bits: Array

    def __getitem__(self, rows: Array) -> Drawn:
        return Drawn(self.bits[rows])

    def bitmaps(self) -> Array:
        """As given."""
        return self.bits

    def runs(self) -> list[bytes]:
        """Run lengths."""
        found: list[bytes] = kernels().rle_encode(self.bits)
        return found


@dataclass(frozen=True)
class Discs:
    """Two annotated discs an image, with masks."""

    classes: tuple[str, ...] = ("disc",)

    def __len__(self) -> int:
        return 3

    def sample(self, index: int) -> Sample:
        """Discs of 20 and 30 pixels across."""
        turn = np.linspace(0, 2 * np.pi, 60)
        circle = np.stack([np.cos(turn), np.sin(turn)], 1)
        rings = [circle * 10 + (20 + index, 30), circle * 15 + (60, 40)]
        boxes = np.array([[*r.min(0), *r.max(0)] for r in rings], np.float32)
        truth = Truth(
            boxes, np.zeros(2, np.int64), np.zeros(2, np.bool_), tuple((r.astype(np.float32),) for r in rings)
        )
        return Sample(np.zeros((80, 100, 3), np.uint8), index + 1, (80, 100), truth)

    def engine(self, images: list[Any], /, *, filled: bool = False) -> list[Detections]:
        """Boxes as annotated; masks too, or the whole box."""
        found = []
        for i in range(len(images)):
            truth = self.sample(i).truth
            bits = np.stack([bitmap(m, (80, 100)) for m in truth.masks or ()])
            if filled:
                for b, (x1, y1, x2, y2) in zip(bits, truth.boxes.round().astype(int), strict=True):
                    b[y1:y2, x1:x2] = 1
            scores = np.array([0.9, 0.8], np.float32)
            found.append(Detections(truth.boxes, scores, truth.labels, self.classes, (80, 100), Drawn(bits)))
        return found


def test_masks_are_scored_and_their_results_read_again(backend: str, tmp_path: Path) -> None:
    discs, truth = Discs(), tmp_path / "truth.json"
    result = evaluate(discs.engine, discs, batch=3, backend=backend, results=tmp_path / "found.json")
    assert pytest.approx(1) == result.AP
    assert result.also["segm"]["AP"] == pytest.approx(1)
    filled = evaluate(lambda x: discs.engine(x, filled=True), discs, batch=3, backend=backend)
    assert pytest.approx(1) == filled.AP
    assert filled.also["segm"]["AP"] == pytest.approx(
        0.6
    )  # a disc fills 0.785 of its box: enough for six of ten thresholds
    truth.write_text(
        json.dumps(annotations_of([discs.sample(i) for i in range(3)], discs.classes), default=bytes.decode)
    )
    again = evaluate_results(truth, tmp_path / "found.segm.json", "segm", backend=backend)
    assert again.figures() == result.also["segm"]


def test_proposals(backend: str, tmp_path: Path) -> None:
    half = oracle(SCENES, 0.5)
    result = evaluate(half, SCENES, metrics=["proposal"], backend=backend, results=tmp_path / "found.json")
    counts = [(round(0.5 * len(t)), len(t)) for t in (SCENES.sample(i).truth.labels for i in range(7))]
    expected = sum(kept for kept, _ in counts) / sum(all for _, all in counts)
    for name in ("AR100", "AR300", "AR1000"):
        assert result.also["proposal"][name] == pytest.approx(expected)
    rows = json.loads((tmp_path / "found.proposal.json").read_text())
    assert {row["category_id"] for row in rows} == {1}


def test_boxes_of_no_class_are_proposals(backend: str, tmp_path: Path) -> None:
    """A region proposal network on a dataset of many classes; its results are what Fast R-CNN is given."""

    def unnamed() -> Callable[[list[Any]], list[Detections]]:
        known = oracle(SCENES)
        return lambda images: [replace(d, labels=d.labels * 0, classes=("object",)) for d in known(images)]

    result = evaluate(unnamed(), SCENES, backend=backend, results=tmp_path / "found.json")
    assert result.also["proposal"]["AR1000"] == pytest.approx(1)
    assert result.AP == -1, "classes are not scored"
    assert (result.images, result.detections) == (7, sum(len(SCENES.sample(i).truth.labels) for i in range(7)))
    proposals = Proposals(tmp_path / "found.proposal.json")
    for i in range(7):
        sample = SCENES.sample(i)
        boxes = proposals.of(sample.id, 1000)
        np.testing.assert_allclose(boxes, sample.truth.boxes, atol=1e-3)
        assert len(proposals.of(sample.id, 1)) == min(1, len(boxes))
    with pytest.raises(BadDataset, match="tells no classes apart"):
        evaluate(unnamed(), SCENES, metrics=["bbox"])


def test_the_engine_is_given_the_proposals_of_each_image() -> None:
    given: list[Any] = []

    def engine(images: list[Any], /, proposals: Any = None) -> list[Detections]:
        given.extend(proposals)
        return [none() for _ in images]

    evaluate(engine, SCENES, batch=3, proposals=lambda sample: np.full((2, 4), sample.id, np.float32))
    assert [int(boxes[0, 0]) for boxes in given] == [SCENES.sample(i).id for i in range(7)]


def test_parts_are_scored_apart_too(tmp_path: Path) -> None:
    """Each as on its own, by its own annotations; all of them as one beside."""
    files = [write_coco(tmp_path / name, n, seed=n, size=(64, 64)) for name, n in (("a", 3), ("b", 2))]
    forms = [f"coco:{file.parent / 'images'}:{file}" for file in files]
    apart, alone = parse_data(" & ".join(forms)), [parse_data(form) for form in forms]
    seen = iter(range(len(apart)))

    def found(images: list[Any], /) -> list[Detections]:  # the truth, but in the second part of one object an image
        samples = [apart.sample(next(seen)) for _ in images]
        truths = [s.truth if s.id <= 3 else s.truth.take(np.arange(1)) for s in samples]
        return [Detections(t.boxes, np.ones(len(t), np.float32), t.labels, apart.classes) for t in truths]

    result = evaluate(found, apart, progress=False)
    assert [part.images for part in result.parts] == [3, 2]
    assert pytest.approx(1) == result.parts[0].AP > result.AP > result.parts[1].AP > 0
    for part, data, first in zip(result.parts, alone, (0, 3), strict=True):
        seen = iter(range(first, len(apart)))
        assert evaluate(found, data, progress=False).figures() == part.figures()
    assert result.named()["1_AP50"] == result.parts[1].AP50
    assert result.as_dict()["parts"][1]["images"] == 2
    assert {"AP", "0_AP", "1_AR100"} <= set(result.table().split())
    seen = iter(range(len(apart)))
    joined = evaluate(found, parse_data(" + ".join(forms)), progress=False)
    assert joined.figures() == result.figures()
    assert joined.parts == ()


def test_masks_need_masks_on_both_sides() -> None:
    with pytest.raises(BadDataset, match="masks"):
        evaluate(oracle(SCENES), SCENES, metrics=["segm"])
    with pytest.raises(UnknownName, match="metric 'segment'"):
        evaluate(nothing, SCENES, metrics=["segment"])


def nothing(images: list[Any], /) -> list[Detections]:
    return [none() for _ in images]


def none() -> Detections:
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


SCENES = Scenes(7, seed=1, size=(96, 96))


def test_a_perfect_detector_has_ap_one(backend: str) -> None:
    result = evaluate(oracle(SCENES), SCENES, batch=3, backend=backend)
    assert pytest.approx(1) == result.AP
    assert pytest.approx(1) == result.AR100
    assert (result.images, result.complete) == (7, True)


def test_backends_agree_on_an_imperfect_detector() -> None:
    pytest.importorskip("faster_coco_eval")
    plain, fast = (evaluate(oracle(SCENES, 0.6, 2.0), SCENES, backend=b) for b in BACKENDS)
    assert plain.as_dict() == fast.as_dict()
    assert 0 < plain.AP < 0.9


def test_zero_detections_score_zero(backend: str) -> None:
    result = evaluate(nothing, SCENES, backend=backend)
    assert result.AP == result.AP50 == result.AR100 == result.detections == 0


def test_zero_annotations_score_minus_one(backend: str) -> None:
    dataset = Scenes(2, size=(64, 64), max_objects=0)
    for engine in (nothing, lambda images: [one_box() for _ in images]):
        result = evaluate(engine, dataset, backend=backend)
        assert set(result.figures().values()) == {-1.0}
        assert set(result.per_class.values()) == {-1.0}


def test_zero_images() -> None:
    result = evaluate(nothing, SCENES, limit=0)
    assert (result.images, result.complete, result.detections) == (0, True, 0)
    assert result.AP == -1
    assert evaluate(nothing, Scenes(0)).images == 0


def one_box(label: int = 0, classes: tuple[str, ...] = ()) -> Detections:
    box = np.array([[1, 1, 20, 20]], np.float32)
    return Detections(box, np.array([0.9], np.float32), np.array([label]), classes)


ANNOTATIONS = {
    "images": [{"id": i, "height": 50, "width": 50, "file_name": f"{i}.png"} for i in (4, 9)],
    "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        # id 0 is legal, although the evaluation libraries use it to mark "no match"
        {"id": 0, "image_id": 4, "category_id": 5, "bbox": [1, 1, 19, 19], "area": 361, "iscrowd": 0},
        {"id": 1, "image_id": 9, "category_id": 2, "bbox": [1, 1, 19, 19]},
    ],
}


def test_add_and_summarize(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.dumps(ANNOTATIONS)
    evaluator = CocoEvaluator(ANNOTATIONS, backend=backend)
    evaluator.add(4, one_box(0))
    assert len(evaluator) == 1
    partial = evaluator.summarize()
    assert partial.per_class == {"cat": pytest.approx(1), "dog": -1.0}
    assert (partial.AP, partial.images) == (partial.per_class["cat"], 1)
    evaluator.add(9, one_box(0))
    whole = evaluator.summarize()
    assert (whole.per_class["dog"], whole.images) == (0, 2)
    assert json.dumps(ANNOTATIONS) == before
    assert capsys.readouterr().out == ""


def test_classes_are_matched_by_name() -> None:
    evaluator = CocoEvaluator(ANNOTATIONS)
    evaluator.add(4, one_box(1, ("dog", "cat", "cow")))
    evaluator.add(9, one_box(2, ("dog", "cat", "cow")))
    result = evaluator.summarize()
    assert result.per_class["cat"] == pytest.approx(1)
    assert (result.per_class["dog"], result.detections) == (0, 1)


def test_misuse_is_refused() -> None:
    evaluator = CocoEvaluator(ANNOTATIONS)
    with pytest.raises(BadDataset, match="not in the annotations"):
        evaluator.add(1, one_box())
    with pytest.raises(BadDataset, match="outside the 2 classes"):
        evaluator.add(4, one_box(2))
    with pytest.raises(BadDataset, match="not among the annotated"):
        evaluator.add(4, one_box(0, ("plane",)))
    evaluator.add(4, one_box())
    with pytest.raises(BadDataset, match="twice"):
        evaluator.add(4, one_box())
    with pytest.raises(UnknownName, match="fast"):
        CocoEvaluator(ANNOTATIONS, backend="fast")
    with pytest.raises(BadDataset, match="'images' is missing"):
        CocoEvaluator({"annotations": []})


def test_a_dataset_without_annotations_is_looked_up() -> None:
    evaluator = CocoEvaluator(SCENES)
    sample = SCENES.sample(2)
    evaluator.add(3, Detections(sample.truth.boxes, np.ones(len(sample.truth.labels)), sample.truth.labels))
    assert pytest.approx(1) == evaluator.summarize().AP
    evaluator.add(77, none())
    with pytest.raises(BadDataset, match="77"):
        evaluator.summarize()


class Crowded:
    """One image with an object and a crowd region."""

    classes = ("sheep",)

    def __len__(self) -> int:
        return 1

    def sample(self, index: int) -> Sample:
        """The image."""
        boxes = np.array([[0, 0, 10, 10], [20, 20, 50, 50]], np.float32)
        truth = Truth(boxes, np.zeros(2, np.int64), np.array([False, True]))
        return Sample(np.zeros((60, 60, 3), np.uint8), 1, (60, 60), truth)


def test_detections_in_a_crowd_are_ignored(backend: str) -> None:
    boxes = np.array([[22, 22, 30, 30], [30, 30, 40, 40], [0, 0, 10, 10]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64))
    assert pytest.approx(1) == evaluate(lambda images: [found], Crowded(), backend=backend).AP


def test_files_of_a_set_and_results_round_trip(tmp_path: Path) -> None:
    file = write_coco(tmp_path, 7, seed=1, size=(96, 96))
    dataset = CocoDetection(tmp_path / "images", file)
    seen: list[Path | Array] = []

    def engine(images: list[Path | Array], /) -> list[Detections]:
        seen.extend(images)
        return truthful(images)

    truthful = oracle(SCENES, 0.7, 1.0)
    result = evaluate(engine, dataset, batch=4, results=tmp_path / "results.json")
    assert seen == [tmp_path / "images" / f"{i:06d}.jpg" for i in range(1, 8)]
    again = evaluate_results(file, tmp_path / "results.json")
    assert again.figures() == pytest.approx(result.figures())
    assert again.detections == result.detections


def test_limit_scores_only_the_first_images() -> None:
    result = evaluate(oracle(SCENES), SCENES, limit=3)
    assert (result.images, result.complete) == (3, True)
    assert pytest.approx(1) == result.AP


def test_an_interrupt_keeps_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    truthful = oracle(SCENES)

    def engine(images: list[Any], /) -> list[Detections]:
        found = truthful(images)
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return found

    done: list[int] = []
    result = evaluate(engine, SCENES, batch=2)
    assert (result.images, result.complete) == (4, False)
    assert pytest.approx(1) == result.AP
    assert "first 4 of 7 images" in capsys.readouterr().err


def test_an_interrupt_before_anything_is_done_is_passed_on() -> None:
    def engine(images: list[Any], /) -> list[Detections]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(engine, SCENES)


def test_progress_goes_to_stderr_only_when_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(nothing, SCENES, progress=False)
    assert capsys.readouterr() == ("", "")
    evaluate(nothing, SCENES, progress=True)
    assert capsys.readouterr().out == ""


def test_bad_arguments_and_engines() -> None:
    with pytest.raises(BadInput):
        evaluate(nothing, SCENES, batch=0)
    with pytest.raises(BadInput):
        evaluate(nothing, SCENES, limit=-1)
    with pytest.raises(InternalError, match="0 detections for 2 images"):
        evaluate(lambda images: [], SCENES, batch=2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "expected a list"),
        ([3], "has no 'image_id'"),
        ([{"image_id": 4, "category_id": 5, "score": 1}], "has no 'bbox'"),
        ([{"image_id": 1, "category_id": 5, "score": 1, "bbox": [0, 0, 1, 1]}], "image 1, not in"),
        ([{"image_id": 4, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}], "unknown category 1"),
        ([{"image_id": 4, "category_id": 5, "score": 1, "bbox": [0, 0, 1]}], "unusable bbox"),
        ([{"image_id": 4, "category_id": 5, "score": 1, "bbox": [0, 0, 1, float("nan")]}], "unusable bbox"),
    ],
)
def test_bad_results_are_refused(tmp_path: Path, rows: object, message: str) -> None:
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    truth.write_text(json.dumps(ANNOTATIONS))
    results.write_text(json.dumps(rows))
    with pytest.raises(BadDataset, match=message):
        evaluate_results(truth, results)


def test_results_files_that_are_missing_or_empty(tmp_path: Path, backend: str) -> None:
    truth, results = tmp_path / "truth.json", tmp_path / "results.json"
    truth.write_text(json.dumps(ANNOTATIONS))
    with pytest.raises(MissingFile):
        evaluate_results(truth, results)
    results.write_text("nonsense")
    with pytest.raises(BadDataset, match="not a json"):
        evaluate_results(truth, results)
    with pytest.raises(UnknownName, match="keypoints"):
        evaluate_results(truth, results, "keypoints")
    results.write_text("[]")
    assert evaluate_results(truth, results, backend=backend).AP == 0
    polygon = [{"image_id": 4, "category_id": 5, "score": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}]
    results.write_text(json.dumps(polygon))
    with pytest.raises(BadDataset, match="unusable segmentation"):
        evaluate_results(truth, results, "segm")


def test_table_and_dict() -> None:
    result = CocoResult.of([0.5, 0.25, *[-1.0] * 10], {"cat": 0.5}, 3, 4)
    lines = result.table().splitlines()
    assert lines[0].split() == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert lines[1].split() == ["50.0", "25.0", "-", "-", "-", "-"]
    assert json.loads(json.dumps(result.as_dict()))["per_class"] == {"cat": 0.5}
