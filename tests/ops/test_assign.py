"""Assignment by IoU in blocks of objects: the bound on memory changes no result."""

from __future__ import annotations

import numpy as np
import pytest

from graphdet.ops import assign
from graphdet.ops.box import random_boxes

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("pairs", [1, 2 * 60 * 3, 2**24])
def test_blocks_give_what_all_objects_at_once_give(pairs: int, ties: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, 2, 7)
    boxes[:, 5] = boxes[:, 1]  # the same object twice, in different blocks
    anchors = np.concatenate([boxes[0], random_boxes(rng, 53)])
    operands = (anchors, rng.random((2, 60)) > 0.1, boxes, rng.integers(0, 3, (2, 7)), np.asarray([7, 4]))
    settings = {"positive": 0.5, "negative": 0.4, "classes": 3, "claim": 0.1, "ties": ties}
    monkeypatch.setattr(assign, "LIMIT", pairs)
    found = assign.match_iou.rules["torch"](torch, *map(torch.from_numpy, operands), **settings)
    expected = assign.match_iou.rules["reference"](*operands, **settings)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), other)
    assert expected[2].sum() > 5
