"""Two-stage detectors at their edges: no objects, no proposals, no detections; any batch, any order, any size."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet import compiler, zoo
from graphdet.compiler.backends.torch import to_module
from graphdet.eval.parity import Objects, unmatched
from graphdet.ir import trace
from graphdet.ir.detector import Variant
from graphdet.records import Array
from graphdet.runtime import Engine
from graphdet.runtime.given import random_inputs
from graphdet.runtime.preprocess import prepare
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.parts import rcnn
from tests.compiler import tiny
from tests.parity import kit
from tests.parity.test_cases import CASES

torch = pytest.importorskip("torch")

DETECTORS = ("faster_rcnn_r50", "cascade_rcnn_r50")  # a new two-stage detector joins here
LEARNERS = (
    *DETECTORS,
    *(f"faster_rcnn_r50_{what}" for what in ("iou", "giou", "ciou", "bounded_iou", "ohem")),
    "faster_rcnn_r50, spread",
    "faster_rcnn_r50, ignore",
    "fast_rcnn_r50",
)
TARGETS = ("openvino", "onnxruntime", "onnx")
PHOTOS = "data/coco-val186-official/val2017"
PHOTOGRAPHED = {  # the network's input, smaller where much is computed for every pixel or box
    "rpn_r50": (256, 320),
    "rpn_r50_caffe_c4": (160, 192),
    "fast_rcnn_r50": (256, 320),
    "faster_rcnn_r50": (256, 320),
    "faster_rcnn_r50_caffe_c4": (32, 64),
    "faster_rcnn_r50_caffe_dc5": (64, 96),
    "cascade_rcnn_r50": (256, 320),
    "mask_rcnn_r50": (256, 320),
    "mask_rcnn_r50_caffe_c4": (32, 64),
    "mask_rcnn_x101_32x4d": (160, 192),
    "cascade_mask_rcnn_r50": (256, 320),
}
SLOW_PHOTO_RUNS = (("rpn_r50", "openvino", 4), ("fast_rcnn_r50", "openvino", 1), ("mask_rcnn_r50", "openvino", 1))


def small(name: str) -> Variant:
    """The detector on a small body."""
    return zoo.get(name).with_arguments(body=ResNet(18), width=16)


def training_inputs(counts: tuple[int, ...], padding: float = 0.0) -> dict[str, Array]:
    """A batch with so many objects in each image; rows past the count hold `padding`."""
    rng, n = np.random.default_rng(1), len(counts)
    corner = rng.uniform(0, 30, (n, 3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 30, (n, 3, 2))], -1)
    boxes[np.arange(3)[None] >= np.asarray(counts)[:, None]] = padding
    proposals = np.zeros((n, 1000, 4))
    proposals[:, :40] = np.concatenate(
        [low := rng.uniform(0, 30, (n, 40, 2)), low + rng.uniform(4, 30, (n, 40, 2))], -1
    )
    floats = {
        "pixels": rng.standard_normal((n, 3, 64, 96)),
        "size": np.tile([64, 96], (n, 1)),
        "padded": np.tile([64, 96], (n, 1)),
        "truth.boxes": boxes,
        "truth.crowds": np.zeros((n, 1, 4)),
        "proposals.boxes": proposals,
    }
    numbers = {
        "truth.labels": rng.integers(0, 80, (n, 3)),
        "truth.count": np.asarray(counts),
        "truth.crowd_count": np.zeros(n, np.int64),
        "proposals.count": np.full(n, 40),
    }
    return {**{k: np.asarray(v, np.float32) for k, v in floats.items()}, **numbers}


SETTINGS: dict[str, dict[str, Any]] = {"spread": {"draw": rcnn.spread}, "ignore": {"ignore": 0.5}}


@cache
def learner(name: str, without_proposals: bool = False) -> Any:
    """The training graph of a detector and its module."""
    name, _, setting = name.partition(", ")
    variant = small(name).with_arguments(**SETTINGS.get(setting, {}))
    graph = trace(variant, "train")
    weights = tiny.fill(graph)
    return graph, to_module(graph, blind(weights) if without_proposals else weights).train()


def blind(weights: dict[str, Array]) -> dict[str, Array]:
    """The weights, so that every anchor leaves the image and no proposal is left."""
    bias = weights["rpn_head.rpn_reg.bias"]
    return {**weights, "rpn_head.rpn_reg.bias": np.where(np.arange(len(bias)) % 4 == 0, 1e4, bias).astype(np.float32)}


def learn(name: str, inputs: dict[str, Array], **options: bool) -> tuple[dict[str, float], dict[str, Any]]:
    """Losses and gradients of one step."""
    graph, module = learner(name, **options)
    module.zero_grad()
    losses = module(**{k.replace(".", "_"): torch.from_numpy(v) for k, v in inputs.items() if k in graph.inputs})
    sum(losses.values()).backward()
    gradients = {k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
    return {k: float(v.detach()) for k, v in losses.items()}, gradients


@pytest.mark.parametrize("counts", [(0, 0), (3, 0)])
@pytest.mark.parametrize("name", LEARNERS)
def test_any_number_of_objects_can_be_learnt_from(name: str, counts: tuple[int, ...]) -> None:
    losses, gradients = learn(name, training_inputs(counts))
    assert all(np.isfinite(v) for v in losses.values())
    assert all(bool(g.isfinite().all()) for g in gradients.values())
    regressed = [v for k, v in losses.items() if "bbox" in k]
    assert any(regressed) == any(counts), "only objects teach where boxes are"
    assert sum(v for k, v in losses.items() if "cls" in k) > 0, "background teaches classes"


@pytest.mark.parametrize("name", [*DETECTORS, "faster_rcnn_r50_ohem"])
def test_padded_truth_teaches_nothing(name: str) -> None:
    losses, gradients = learn(name, training_inputs((2, 0)))
    others, again = learn(name, training_inputs((2, 0), padding=40.0))
    assert losses == others
    assert all(torch.equal(g, again[k]) for k, g in gradients.items())


def test_what_lies_in_a_crowd_is_no_background() -> None:
    inputs = training_inputs((2, 1))
    plain, _ = learn("faster_rcnn_r50", inputs)
    same, _ = learn("faster_rcnn_r50, ignore", inputs)
    assert same == plain, "without crowd regions all learn"
    inputs["truth.crowds"] = np.asarray([[[-500, -500, 600, 600]], [[0, 0, 1, 1]]], np.float32)
    padded, _ = learn("faster_rcnn_r50, ignore", inputs)
    assert padded == plain, "rows past the count do not exist"
    one, _ = learn("faster_rcnn_r50, ignore", {**inputs, "truth.crowd_count": np.asarray([1, 0])})
    both = np.broadcast_to(inputs["truth.crowds"][:1], (2, 1, 4)).copy()
    none, gradients = learn(
        "faster_rcnn_r50, ignore", {**inputs, "truth.crowds": both, "truth.crowd_count": np.asarray([1, 1])}
    )
    assert sum(v for k, v in none.items() if "rpn" in k) == 0 < sum(v for k, v in one.items() if "rpn" in k)
    assert not any(bool(g.any()) for k, g in gradients.items() if k.startswith("rpn_head"))
    blinded, _ = learn("faster_rcnn_r50", inputs, without_proposals=True)
    assert none["loss_bbox"] == pytest.approx(blinded["loss_bbox"]), "only objects themselves are left to learn from"
    assert none["loss_cls"] == pytest.approx(blinded["loss_cls"])
    assert one["loss_cls"] not in (plain["loss_cls"], none["loss_cls"])


@pytest.mark.parametrize("name", DETECTORS)
def test_learning_without_proposals(name: str) -> None:
    losses, gradients = learn(name, training_inputs((2, 0)), without_proposals=True)
    assert all(np.isfinite(v) for v in losses.values())
    assert all(bool(g.isfinite().all()) for k, g in gradients.items() if k.startswith("roi_head"))


@cache
def engine(name: str, target: str, without_proposals: bool = False) -> Engine:
    """An engine of any batch and size, compared with the reference as it was built."""
    weights = tiny.weights(small(name))
    built = compiler.compile(
        small(name), blind(weights) if without_proposals else weights, target,
        batch="dynamic", size="dynamic", certified=not without_proposals,
    )  # fmt: skip
    return Engine(built)


def detect(run: Engine, inputs: dict[str, Array], **thresholds: float) -> dict[str, Array]:
    """The padded outputs of an engine."""
    given = {name: inputs[name] for name in run.header.input.given}
    return run.run(inputs["pixels"], inputs["size"], inputs["geometry"], inputs=given, watch=None, **thresholds)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", DETECTORS)
def test_the_order_of_a_batch_is_the_order_of_its_results(name: str, target: str) -> None:
    run, inputs, order = engine(name, target), tiny.inputs(4), [2, 0, 3, 1]
    found = detect(run, inputs, score_threshold=0.005)
    moved = detect(run, {k: v[order] for k, v in inputs.items()}, score_threshold=0.005)
    assert found["count"].min() > 20
    for key in ("count", "labels"):
        np.testing.assert_array_equal(moved[key], found[key][order])
    for key in ("boxes", "scores"):
        np.testing.assert_allclose(moved[key], found[key][order], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", DETECTORS)
def test_nothing_found_is_a_result(name: str, target: str) -> None:
    for found in (
        detect(engine(name, target), tiny.inputs(2), score_threshold=1.0),
        detect(engine(name, target, without_proposals=True), tiny.inputs(2)),
    ):
        np.testing.assert_array_equal(found["count"], 0)
        np.testing.assert_array_equal(found["labels"], -1)


@pytest.mark.parametrize("target", [*TARGETS, "torch"])
def test_an_engine_is_given_proposals(target: str) -> None:
    """In pixels of images of several sizes; alone, in a batch, and none at all: what PyTorch makes of them."""
    variant, size = small("fast_rcnn_r50").with_arguments(most=200), (96, 128)
    weights, limits = tiny.weights(variant), {"score_threshold": 0.005, "iou_threshold": 0.5}
    run = Engine(compiler.compile(variant, weights, target, batch="dynamic", size=size))
    module = to_module(trace(variant), weights).eval()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (h, w, 3), np.uint8) for h, w in ((60, 90), (80, 50), (64, 64))]
    drawn = random_inputs(run.header.input.given, [image.shape[:2] for image in images])
    for chosen in ([0], [1], [0, 2], [2, 1, 0]):
        ready = prepare([images[i] for i in chosen], variant.preprocess, size=size)
        given = {k: v[chosen] for k, v in drawn.items()}
        inputs = {"pixels": ready.pixels, "size": ready.size, "geometry": ready.geometry, **given}
        tensors = {k.replace(".", "_"): torch.from_numpy(v) for k, v in inputs.items()}
        with torch.no_grad():
            said = module(**tensors, **{k: torch.tensor(v) for k, v in limits.items()})
        expected = {k: v.numpy() for k, v in said.items()}
        found = detect(run, inputs, **limits)
        boxes = [drawn["proposals.boxes"][i, : drawn["proposals.count"][i]] for i in chosen]
        called = run([images[i] for i in chosen], proposals=boxes, score=0.005, iou=0.5)
        for k, i in enumerate(chosen):
            ours, theirs = Objects.of(found, k), Objects.of(expected, k)
            assert (len(theirs.scores) > 20) == (i != 1), "the second image is given none"
            assert not unmatched(theirs, ours, **limits)
            assert not unmatched(ours, theirs, **limits)
            np.testing.assert_allclose(called[k].scores, ours.scores, rtol=1e-6)


PHOTO_RUNS = [  # each builds a whole body: a few are among the slow tests, the others run by night
    pytest.param(*run, marks=pytest.mark.slow if run in SLOW_PHOTO_RUNS else pytest.mark.nightly)
    for run in product(PHOTOGRAPHED, TARGETS, (1, 4))
]


@pytest.mark.parametrize(("name", "target", "batch"), PHOTO_RUNS)
def test_photos_give_what_pytorch_gives(name: str, target: str, batch: int, shared: Callable[[str], Path]) -> None:
    """A certificate on photos of several sizes, two of them alone or four as a batch; weights are the parity kit's.

    A detector that is given boxes gets a thousand in the first photo and none in the second.
    """
    photos = sorted(shared(PHOTOS).glob("*.jpg"))[: max(2, batch)]
    variant = zoo.get(name)
    built = compiler.compile(
        variant, tiny.weights(variant), target, batch=batch, size=PHOTOGRAPHED[name], images=photos
    )
    certificate = built.header.certificate
    assert certificate["reference"].startswith("torch")
    assert [shape[0] for shape in certificate["samples"]] == [batch] * (len(photos) // batch)
    assert certificate["detections_compared"] >= 50


def test_the_weights_on_photos_are_those_of_the_parity_kit(shared: Callable[[str], Path]) -> None:
    """`tiny.weights` fills by the kit's rule: the seed and gain that the reference's figures were recorded with."""
    cases = [case for case, name in CASES.items() if name in PHOTOGRAPHED]
    assert len(cases) == 9
    for facts in (kit.load_case(shared("parity"), case) for case in cases):
        assert (facts["seed"], facts["gain"]) == (0, 1.0)
