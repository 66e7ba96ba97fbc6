"""Masks of an engine, pasted into the original image, equal full-image grid sampling of what PyTorch predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphdet import zoo
from graphdet.compiler import compile
from graphdet.ir import trace
from graphdet.ir.initial import initial_values
from graphdet.records import Array
from graphdet.runtime import Engine
from graphdet.runtime.kernels import kernels
from graphdet.runtime.masks import GridMasks, whole_canvas
from graphdet.runtime.preprocess import prepare
from graphdet.zoo.backbones.resnet import ResNet

torch = pytest.importorskip("torch")


def small() -> tuple[Any, dict[str, Array]]:
    """A narrow Mask R-CNN whose random weights find many objects."""
    variant = zoo.get("mask_rcnn_r50").with_arguments(body=ResNet(18), width=32, num_classes=3)
    weights = initial_values(trace(variant), seed=3)
    for name in weights:
        if "fc_cls" in name or "rpn_cls" in name:
            weights[name] = weights[name] * np.float32(20)
        elif "conv_logits" in name:  # decided masks: few probabilities lie at the threshold
            weights[name] = weights[name] * np.float32(3)
    return variant, weights


def sampled(grid: Array, box: Array, size: tuple[int, int]) -> Array:
    """The mask of one box by grid sampling over the whole image."""
    y, x = (torch.arange(n, dtype=torch.float32) + 0.5 for n in size)
    x1, y1, x2, y2 = (float(v) for v in box)
    down, across = torch.meshgrid((y - y1) / (y2 - y1) * 2 - 1, (x - x1) / (x2 - x1) * 2 - 1, indexing="ij")
    points = torch.stack((across, down), -1)
    value = torch.nn.functional.grid_sample(torch.from_numpy(grid)[None, None], points[None], align_corners=False)
    return np.asarray((value[0, 0] >= 0.5).numpy())


def test_engine_masks_equal_the_reference_on_the_original_image() -> None:
    from graphdet.train.evaluate import TorchEngine

    variant, weights = small()
    engine = Engine(compile(variant, weights, size=(128, 160), batch=1, certified=False))
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 255, (8, 10, 3)), np.ones((25, 25, 1))).astype(np.uint8)
    (found,) = engine([picture])
    torched = TorchEngine(variant)
    torched.load(weights)
    ready = prepare([picture], variant.preprocess, size=(128, 160))
    batch = {"pixels": ready.pixels, "size": ready.size, "geometry": ready.geometry}
    with torch.inference_mode():
        expected = torched.module(**{k: torch.from_numpy(v) for k, v in batch.items()})
    count = int(expected["count"][0])
    assert len(found) == count > 5
    masks, boxes, labels = (expected[k][0, :count].numpy() for k in ("masks", "boxes", "labels"))
    assert found.masks is not None
    bitmaps = found.masks.bitmaps() > 0
    pairs = zip(found.boxes, found.labels, strict=True)  # equal scores may stand in any order
    order = [int((np.abs(boxes - box).sum(1) + 1e4 * (labels != label)).argmin()) for box, label in pairs]
    assert sorted(order) == list(range(count))
    for bitmap, i in zip(bitmaps, order, strict=True):
        other = sampled(masks[i], boxes[i], found.size)
        assert (bitmap & other).sum() >= 0.999 * (bitmap | other).sum()
    assert kernels().rle_encode(found.masks.bitmaps()) == found.masks.runs()
    assert [s["size"] for s in found.segmentations()] == [list(found.size)] * count
    best = found.take(np.arange(2))
    assert best.masks is not None
    assert np.array_equal(best.masks.bitmaps() > 0, bitmaps[:2])
    (none,) = engine([picture], score=1.0)
    assert none.masks is not None
    assert none.masks.bitmaps().shape == (0, *found.size)


def test_grids_over_the_whole_input() -> None:
    """A grid at stride 4 of the padded input is the mask where its cells are, in original pixels."""
    grid = np.zeros((1, 8, 10), np.float32)
    grid[0, 2:5, 3:7] = 1
    span = whole_canvas(np.asarray([0.5, 0.5, 0, 0], np.float32), (32, 40), 1)  # the image was halved
    assert span.tolist() == [[0, 0, 80, 64]]
    drawn = GridMasks(grid, span, (60, 70)).bitmaps()[0]
    expected = np.zeros((60, 70), np.uint8)
    expected[16:40, 24:56] = 1
    assert (drawn != expected).sum() == 4 * 6  # the corners of a bilinear mask are round
    assert drawn[28, 40] == 1
