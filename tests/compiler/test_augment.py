"""Several views of an image in one graph: what they merge, on which targets, and who is refused."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet import compiler, ops, zoo
from graphdet.compiler.augment import PLAIN, View, augment, parse_views
from graphdet.compiler.oracle import evaluate as computed
from graphdet.data import Scenes
from graphdet.errors import BadInput, NotLowerable
from graphdet.eval import evaluate
from graphdet.importers import read_weights
from graphdet.ir import trace, verify
from graphdet.records import Array
from graphdet.runtime import Engine
from graphdet.zoo.backbones.resnet import ResNet
from tests.compiler import tiny

DOTS = tiny.DETECTORS["dots"]
WEIGHTS = tiny.weights(DOTS)
NIGHTLY = pytest.mark.nightly
FLIP, SMALL = View(axes=("horizontal",)), View(Fraction(1, 2))


def inputs(count: int = 2) -> dict[str, Array]:
    """As `tiny.inputs`, with images of whole sizes in pixels of their own, and thresholds."""
    arrays = tiny.inputs(count)
    whole = {"size": np.rint(arrays["size"]), "geometry": np.tile(np.asarray([1, 1, 0, 0], np.float32), (count, 1))}
    return arrays | whole | thresholds(0.3, 0.5)


def mirrored(arrays: dict[str, Array]) -> dict[str, Array]:
    """With the pixels of each image left to right, by NumPy."""
    other = {**arrays, "pixels": arrays["pixels"].copy()}
    for i, (_, width) in enumerate(arrays["size"].astype(int)):
        other["pixels"][i, :, :, :width] = arrays["pixels"][i, :, :, :width][:, :, ::-1]
    return other


def thresholds(score: float, iou: float) -> dict[str, Array]:
    return {"score_threshold": np.asarray(score, np.float32), "iou_threshold": np.asarray(iou, np.float32)}


def everything(arrays: dict[str, Array]) -> Sequence[Array]:
    """All boxes of the plain detector, in net pixels, with scores and labels."""
    found = computed(trace(DOTS), arrays | thresholds(0, 1), WEIGHTS)
    return found["boxes"], found["scores"], found["labels"]


def merged(arrays: dict[str, Array], *parts: Sequence[Array]) -> dict[str, Array]:
    joined = [np.concatenate(part, 1) for part in zip(*parts, strict=True)]
    limits = arrays["score_threshold"], arrays["iou_threshold"]
    found = ops.nms.rules["reference"](*joined, *limits, keep=0, agnostic=False)
    return dict(zip(("boxes", "scores", "labels", "count"), found, strict=True))


def assert_same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    np.testing.assert_array_equal(found["count"], expected["count"])
    for i, count in enumerate(found["count"]):
        assert count > 1
        for name in ("boxes", "scores", "labels"):
            np.testing.assert_allclose(found[name][i, :count], expected[name][i, :count], rtol=1e-5, atol=1e-4)


def run(arrays: dict[str, Array], *views: View) -> dict[str, Array]:
    return computed(augment(trace(DOTS), views), arrays, WEIGHTS)


def test_the_plain_view_alone_changes_nothing() -> None:
    graph = trace(DOTS)
    assert augment(graph, (PLAIN,)).hash == graph.hash


def test_mirrored_view() -> None:
    """Against the plain detector on pixels that NumPy mirrors, its boxes mirrored back, all suppressed together."""
    arrays = inputs()
    boxes, *said = everything(mirrored(arrays))
    back = np.concatenate([arrays["size"][:, None, 1:] - boxes[..., 2:3], boxes[..., 1:2],
                           arrays["size"][:, None, 1:] - boxes[..., 0:1], boxes[..., 3:]], -1)  # fmt: skip
    assert_same(run(arrays, PLAIN, FLIP), merged(arrays, everything(arrays), (back, *said)))


def test_smaller_view() -> None:
    """Half of 64 x 96 is 32 x 48: both are multiples of 16, and each pixel is the mean of four."""
    arrays = inputs()
    pixels = arrays["pixels"].reshape(2, 3, 32, 2, 48, 2).mean((3, 5))
    boxes, *said = everything({**arrays, "pixels": pixels, "size": arrays["size"] / 2})
    assert_same(run(arrays, PLAIN, SMALL), merged(arrays, everything(arrays), (boxes * 2, *said)))


def test_a_symmetric_image_has_symmetric_detections() -> None:
    arrays = inputs(1)
    arrays["size"][:] = 64, 96
    arrays["pixels"] = arrays["pixels"] + arrays["pixels"][..., ::-1]
    found = run(arrays | thresholds(0.3, 1), PLAIN, FLIP)
    boxes = found["boxes"][0, : found["count"][0]]
    mirrored = np.stack([96 - boxes[:, 2], boxes[:, 1], 96 - boxes[:, 0], boxes[:, 3]], 1)
    nearest = np.abs(boxes[:, None] - mirrored[None]).max(-1).min(1)
    assert len(boxes) > 1
    assert nearest.max() < 1e-3


MASKED = zoo.get("mask_rcnn_r50").with_arguments(body=ResNet(18), width=32)


def with_masks(arrays: dict[str, Array], *views: View) -> dict[str, Array]:
    graph = augment(trace(MASKED), views) if views else trace(MASKED)
    return computed(graph, arrays | thresholds(0.01, 0.5), tiny.weights(MASKED))


def assert_same_masks(found: dict[str, Array], expected: dict[str, Array]) -> None:
    np.testing.assert_array_equal(found["count"], expected["count"])
    for i, count in enumerate(found["count"]):
        assert count > 1
        assert expected["masks"][i, :count].std() > 1e-3
        np.testing.assert_allclose(found["masks"][i, :count], expected["masks"][i, :count], atol=1e-4)


@pytest.mark.parametrize("views", [(FLIP,), (FLIP, FLIP)], ids=["once", "twice"])
def test_masks_of_a_mirrored_view(views: tuple[View, ...]) -> None:
    """The mirrored view of mirrored pixels is the plain one: its masks are those, mirrored."""
    arrays = inputs()
    plain = with_masks(arrays)
    assert_same_masks(with_masks(mirrored(arrays), *views), {**plain, "masks": plain["masks"][..., ::-1]})


def test_masks_of_a_smaller_view() -> None:
    arrays = inputs(1) | {"pixels": np.repeat(np.repeat(inputs(1)["pixels"], 2, 2), 2, 3)}
    arrays["size"] = arrays["size"] * 2
    assert_same_masks(with_masks(arrays, SMALL), with_masks(inputs(1)))


def test_masks_of_nothing() -> None:
    arrays = inputs() | thresholds(1.0, 0.5)
    found = computed(augment(trace(MASKED), (PLAIN, FLIP, SMALL)), arrays, tiny.weights(MASKED))
    np.testing.assert_array_equal(found["count"], 0)
    assert found["masks"].shape[:2] == (2, 1), "one row of padding"


def test_masks_of_several_views() -> None:
    """Of mirrored pixels the same two views say the same, mirrored."""
    arrays = inputs()
    two = with_masks(arrays, PLAIN, FLIP)
    assert_same_masks(with_masks(mirrored(arrays), PLAIN, FLIP), {**two, "masks": two["masks"][..., ::-1]})


@pytest.mark.parametrize("target", ["openvino", "onnxruntime", "onnx"])
@pytest.mark.parametrize("name", tiny.DETECTORS)
def test_certified_on_every_target(name: str, target: str) -> None:
    variant = tiny.DETECTORS[name]
    views = parse_views("flip-both,0.7")
    size: Any = "dynamic" if name == "anchored" else (64, 96)  # of `dots` every cell is a candidate
    artefact = compiler.compile(variant, tiny.weights(variant), target, size=size, batch=2, views=views)
    assert artefact.header.certificate["detections_compared"] > 0
    assert artefact.header.provenance["views"] == ["1", "0.7", "1 flip-both", "0.7 flip-both"]


@pytest.mark.parametrize("name", ["yolox_scenes", "faster_rcnn_r50", "retinanet_r18", "cascade_mask_rcnn_r50"])
def test_detectors_of_the_zoo(name: str) -> None:
    graph = trace(zoo.get(name))
    views = augment(graph, parse_views("flip,0.8"))
    verify(views)
    assert list(views.params) == list(graph.params)
    assert [v.type.meaning for v in views.outputs.values()] == [v.type.meaning for v in graph.outputs.values()]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", *(pytest.param(t, marks=NIGHTLY) for t in ("onnxruntime", "onnx"))])
def test_certified_with_masks(target: str) -> None:
    views = parse_views("flip,1.5")
    artefact = compiler.compile(MASKED, tiny.weights(MASKED), target, size=(64, 96), batch=2, views=views)
    assert artefact.header.certificate["detections_compared"] > 0


@pytest.mark.slow
def test_more_views_find_more() -> None:
    """The shipped detector on drawn scenes it has not seen, in OpenVINO, at the size it was made for."""
    variant = zoo.get("yolox_scenes")
    weights = read_weights(Path(zoo.__file__ or "").parent / "weights" / "yolox_scenes.safetensors").tensors
    found = {}
    for views in ("", "flip,1.25"):
        artefact = compiler.compile(variant, weights, "openvino", views=parse_views(views))
        assert artefact.header.certificate["detections_compared"] > 100
        found[views] = evaluate(Engine(artefact), Scenes(60, 777), progress=False).AP
    print({views: f"{100 * ap:.1f}" for views, ap in found.items()})
    assert found["flip,1.25"] > found[""] + 0.04


@pytest.mark.parametrize(
    ("name", "reason"), [("detr_r50", "do not come from a suppression"), ("mask2former_r50", "not of boxes")]
)
def test_what_cannot_be_joined_is_refused(name: str, reason: str) -> None:
    with pytest.raises(NotLowerable, match=reason):
        augment(trace(zoo.get(name)), parse_views("flip"))


def test_views_as_text() -> None:
    assert parse_views("") == (PLAIN,)
    assert parse_views("flip") == (PLAIN, FLIP)
    assert parse_views("0.5, flip") == (PLAIN, SMALL, FLIP, View(Fraction(1, 2), ("horizontal",)))
    assert parse_views("1,flip,flip") == (PLAIN, FLIP)
    with pytest.raises(BadInput, match="is no view"):
        parse_views("flop")
    with pytest.raises(BadInput, match="scales are"):
        parse_views("0.1")
