"""Region proposals: the network of Ren et al. 2015 (arXiv:1506.01497), sec. 3.1, on one map or a feature pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import sums_by_level, to_cells
from graphdet.ir import Image, Value, by_phase, constant, scope, share, tap
from graphdet.ir.graph import Operand
from graphdet.zoo.parts.crowds import apart

RATIOS = (0.5, 1.0, 2.0)  # height / width


@dataclass(frozen=True)
class Rpn:
    """What the network says of every anchor; a level each: its map, logits f[N A 1], deltas f[N A 4], anchors [A 4]."""

    levels: Sequence[Value]
    logits: Sequence[Value]
    deltas: Sequence[Value]
    anchors: Sequence[Value]
    per_cell: int

    def proposals(
        self,
        size: Value,
        score_threshold: Operand = 0.0,
        iou_threshold: Operand = 0.7,
        *,
        consider: tuple[int, int] = (2000, 1000),
        keep: tuple[int, int] = (1000, 1000),
    ) -> tuple[Value, Value, Value, Value]:
        """Boxes, scores, level numbers, count of each image's proposals; levels do not suppress one another.

        consider: how many boxes of a level suppression sees, in training and in use · keep: how many it leaves.
        """
        top = by_phase(train=lambda: consider[0], infer=lambda: consider[1])
        most = by_phase(train=lambda: keep[0], infer=lambda: keep[1])
        found = []
        for level, (logits, deltas, anchors) in enumerate(zip(self.logits, self.deltas, self.anchors, strict=True)):
            scores, zero, row = ops.select_top(ops.sigmoid(logits), 0.0, k=top)
            boxes = ops.clip_boxes(ops.gather_rows(ops.decode_deltas(anchors, deltas), row), size)
            found.append((boxes, scores, zero + level))
        boxes, scores, levels = (ops.concat(*parts, axis=1) for parts in zip(*found, strict=True))
        boxes, scores = by_phase(  # the second stage learns nothing about where to look, and the kernel is free to run
            train=lambda: (ops.stop_gradient(boxes), ops.stop_gradient(scores)), infer=lambda: (boxes, scores)
        )
        kept = ops.nms(boxes, scores, levels, score_threshold, iou_threshold, keep=most)
        tap("proposals.count", kept[3])
        return kept

    def cells_inside(self, image: Image, ignore: float = 1.0) -> Value:
        """Which anchors learn, b[N A]: those whose cell lies in the padded image; ignore: see `crowds.apart`."""
        each = (ops.cells_inside(p, image.padded, stride=p.stride, per_cell=self.per_cell) for p in self.levels)
        return apart(image, ops.concat(*self.anchors, axis=0), ops.concat(*each, axis=1), ignore)

    def anchors_inside(self, image: Image) -> Value:
        """Which anchors learn, b[N A]: those that cross no border of the image (sec. 3.3)."""
        return ops.boxes_inside(ops.concat(*self.anchors, axis=0), image.size)

    def losses(
        self, image: Image, inside: Value, distance: Callable[[Value], Value] = ops.absolute
    ) -> Mapping[str, Sequence[Value]]:
        """Cross entropy and a distance of offsets over 256 anchors an image, at most half positive (sec. 3.1.3)."""
        truth, prior = image.truth, ops.concat(*self.anchors, axis=0)
        target, matched, positive, _ = ops.match_iou(
            prior, inside, truth.boxes, truth.labels * 0, truth.count, positive=0.7, negative=0.3, claim=0.3, classes=1
        )
        sampled = ops.sample_mask(positive, target > 0, image.sampling_seed, limit=256, share=0.5)
        count = ops.maximum(ops.mean_over_processes(ops.total(ops.cast(sampled, to="f32"))), 1.0)
        logits, deltas = ops.concat(*self.logits, axis=1)[:, :, 0], ops.concat(*self.deltas, axis=1)
        classified = ops.where(sampled, ops.bce(logits, ops.cast(positive, to="f32")), 0.0) / count
        offset = ops.total(distance(deltas - ops.encode_deltas(prior, matched)), axes=(-1,))
        learns = ops.cast(positive & sampled, to="f32")
        return {
            "loss_rpn_cls": sums_by_level(classified, self.anchors),
            "loss_rpn_bbox": sums_by_level(offset * learns / count, self.anchors),
        }


def rpn(levels: Sequence[Value], width: int = 256, scales: tuple[float, ...] = (8.0,)) -> Rpn:
    """A 3x3 convolution, then an objectness and a box offset for each anchor of a cell; shared by all levels."""
    count = len(RATIOS) * len(scales)
    with scope("rpn_head"):
        head = share(_head, width, count)
        maps = tap("rpn_head", tuple(zip(*(head(p) for p in levels), strict=True)))
    logits = [to_cells(m, 1) for m in maps[0]]
    deltas = [to_cells(m, 4) for m in maps[1]]
    anchors = [ops.anchor_grid(p, constant(cell(p.stride, scales)), stride=p.stride) for p in levels]
    return Rpn(levels, logits, deltas, anchors, count)


def _head(level: Value, width: int, count: int) -> tuple[Value, Value]:
    hidden = ops.relu(conv("rpn_conv", level, width, deviation=0.01))
    logits = conv("rpn_cls", hidden, count, size=1, deviation=0.01)
    return logits, conv("rpn_reg", hidden, 4 * count, size=1, deviation=0.01)


def cell(stride: int, scales: tuple[float, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The anchors around a cell's origin, ratio by ratio: of the area of squares of each scale, in strides."""
    tall = np.sqrt(np.asarray(RATIOS, np.float32))
    side = np.asarray(scales, np.float32) * np.float32(stride)
    half = np.stack([np.outer(1 / tall, side), np.outer(tall, side)], -1).reshape(-1, 2) / 2
    return np.concatenate([-half, half], 1).astype(np.float32)
