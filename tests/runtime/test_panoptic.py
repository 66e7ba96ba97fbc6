"""Panoptic fusion: each rule by itself, and all of them against a plain statement of the reference's procedure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphdet import compiler, ops
from graphdet.errors import BadInput
from graphdet.records import Array, Panoptic
from graphdet.runtime import Engine
from graphdet.runtime.panoptic import fuse
from tests.compiler import tiny
from tests.runtime.flag import FLAG, picture

SURE = 20.0  # a logit whose probability is 1


def boxes_of(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (8, 10), logit: float = SURE) -> Array:
    """Logits on the pixels of an image: positive inside a box (x, y, width, height) a query."""
    out = np.full((len(boxes), *size), -logit, np.float32)
    for grid, (x, y, w, h) in zip(out, boxes, strict=True):
        grid[y : y + h, x : x + w] = logit
    return out


def fused(scores: list[float], labels: list[int], logits: Array, **settings: Any) -> Panoptic:
    """Labels below 5 are things; the grid has the pixels of the image."""
    height, width = logits.shape[1:]
    span = np.array([0, 0, width, height], np.float32)
    return fuse(queries_of(np.array(scores), np.array(labels), logits), span, (height, width), **settings)


def queries_of(scores: Array, labels: Array, logits: Array) -> dict[str, Array]:
    names = labels.astype(np.int64)
    return {
        "scores": scores.astype(np.float32),
        "labels": names,
        "things": (names < 5).astype(np.int64),
        "logits": logits,
    }


def test_things_are_counted_and_stuff_is_joined() -> None:
    logits = boxes_of((0, 0, 2, 8), (2, 0, 2, 8), (4, 0, 2, 8), (6, 0, 2, 8))
    found = fused([0.9, 0.9, 0.9, 0.9], [3, 7, 3, 7], logits)
    assert found.labels.tolist() == [3, 7, 3]
    assert found.map[0].tolist() == [1, 1, 2, 2, 3, 3, 2, 2, 0, 0]


def test_scores_must_be_above_the_threshold() -> None:
    logits = boxes_of((0, 0, 5, 8), (5, 0, 5, 8))
    found = fused([0.9, 0.8], [1, 2], logits)
    assert (found.labels.tolist(), np.unique(found.map).tolist()) == ([1], [0, 1])
    assert fused([0.9, 0.8], [1, 2], logits, score=0.5).labels.tolist() == [1, 2]


def test_a_hidden_query_gives_no_segment() -> None:
    logits = boxes_of((0, 0, 5, 8), (2, 0, 5, 8))  # 3 of the second's 5 columns stay its own
    hidden = fused([0.95, 0.9], [1, 2], logits)
    assert hidden.labels.tolist() == [1], "its pixels become void, and not another's"
    assert hidden.map[0].tolist() == [1] * 5 + [0] * 5, "the second claims the rest, and is left out"
    shown = fused([0.95, 0.9], [1, 2], logits, overlap=0.3)
    assert shown.map[0].tolist() == [1] * 5 + [2] * 2 + [0] * 3


def test_nothing_is_an_ordinary_case() -> None:
    for logits, scores in (
        (np.zeros((0, 4, 4), np.float32), []),
        (boxes_of((0, 0, 3, 3)), [0.1]),
        (boxes_of((0, 0, 0, 0)), [0.9]),
    ):
        found = fused(scores, [1] * len(scores), logits)
        assert len(found) == 0
        assert not found.map.any()


def procedure(scores: Array, labels: Array, full: Array, things: int, none: int) -> Array:
    """The reference's steps, on probabilities at the size of the image: class + 1000 * instance, `none` for void."""
    keep = [k for k in range(len(scores)) if scores[k] > 0.8]
    out = np.full(full.shape[1:], none)
    if not keep:
        return out
    owner = np.array(keep)[(scores[keep, None, None] * full[keep]).argmax(0)]
    instance = 1
    for k in keep:
        own, whole = owner == k, full[k] >= 0.5
        if own.sum() == 0 or whole.sum() == 0 or own.sum() / whole.sum() < 0.8:
            continue
        out[own & whole] = labels[k] + (1000 * instance if labels[k] < things else 0)
        instance += int(labels[k] < things)
    return out


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_the_procedure(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.uniform(0.7, 1.0, 14).astype(np.float32), rng.integers(0, 9, 14)
    y, x = np.mgrid[:12, :15]
    centre, reach = rng.uniform(0, 15, (14, 2, 1, 1)), rng.uniform(1, 5, (14, 1, 1))
    logits = (reach - np.hypot(x - centre[:, 0], y - centre[:, 1])).astype(np.float32) * 3
    full = ops.resize.rules["reference"](logits[None], height=48, width=60)[0]
    wanted = procedure(scores, labels, 1 / (1 + np.exp(-full[:, :40, :53])), 5, 9)
    span = np.array([0, 0, 60, 48], np.float32)
    found = fuse(queries_of(scores, labels, logits), span, (40, 53))
    assert len(found) > 1
    for i, label in zip(found.ids, found.labels, strict=True):
        values = np.unique(wanted[found.map == i])
        assert len(values) == 1
        assert values[0] % 1000 == label
        assert ((wanted == values[0]) == (found.map == i)).all()
    assert ((found.map == 0) == (wanted == 9)).all()


@pytest.mark.parametrize("batch", [1, 2, "dynamic"])
def test_from_images_to_segments(batch: Any) -> None:
    """Images of several sizes, also scaled; one more than the batch."""
    artefact = compiler.compile(FLAG, {}, "onnxruntime", size=(32, 48), batch=batch, certified=False)
    engine = Engine(artefact)
    pictures = [picture(*size) for size in ((32, 48), (64, 96), (32, 30))]
    for image, found in zip(pictures, engine.panoptic(pictures), strict=True):
        assert found.map.shape == image.shape[:2]
        assert found.things is not None
        assert found.things.tolist() == [True, True, False]
        assert (found.labels.tolist(), found.classes) == ([0, 0, 2], ("cat", "dog", "sky"))
        wanted = np.where(image.any(2), image.argmax(2) + 1, 0)
        assert (found.map == wanted).mean() > 0.95, "pixels at edges, where the picture was scaled, may differ"
        if image.shape[0] == 32:
            assert (found.map == wanted).all()
    assert len(engine(pictures[0])) == 1
    assert engine.panoptic([]) == []


def test_a_detector_of_boxes_has_no_segments() -> None:
    engine = Engine(
        compiler.compile(tiny.DETECTORS["dots"], tiny.weights(tiny.DETECTORS["dots"]), "onnxruntime", certified=False)
    )
    with pytest.raises(BadInput, match="no panoptic segments"):
        engine.panoptic(np.zeros((20, 20, 3), np.uint8))


def test_what_cannot_be_fused_is_told() -> None:
    logits = boxes_of((0, 0, 5, 8))
    said = queries_of(np.array([0.9]), np.array([1]), logits)
    for wrong, text in (
        ({"labels": np.zeros(2, np.int64)}, r"labels is i64\[2\]"),
        ({"logits": logits[:, :0]}, "a grid is 0 x 10"),
        ({"scores": said["scores"].astype(np.float64)}, "scores"),
    ):
        with pytest.raises(ValueError, match=text):
            fuse({**said, **wrong}, np.array([0, 0, 10, 8], np.float32), (8, 10))
    with pytest.raises(ValueError, match="no box of positive extent"):
        fuse(said, np.array([0, 0, 0, 8], np.float32), (8, 10))
    lost = fuse({**said, "logits": np.full_like(logits, np.nan)}, np.array([0, 0, 10, 8], np.float32), (8, 10))
    assert (len(lost), int(lost.map.sum())) == (0, 0)
