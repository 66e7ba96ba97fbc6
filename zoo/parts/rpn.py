"""Region proposals: the network of Ren et al. 2015 (arXiv:1506.01497), sec. 3.1, on a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import sums_by_level, to_cells
from graphdet.ir import Image, Value, by_phase, constant, scope, share, tap
from graphdet.ir.graph import Operand

RATIOS = (0.5, 1.0, 2.0)  # height / width


@dataclass(frozen=True)
class Rpn:
    """What the network says of every anchor: logits f[N A 1] and deltas f[N A 4] a level, anchors [A 4] a level."""

    logits: Sequence[Value]
    deltas: Sequence[Value]
    anchors: Sequence[Value]

    def proposals(
        self, size: Value, score_threshold: Operand = 0.0, iou_threshold: Operand = 0.7
    ) -> tuple[Value, Value, Value, Value]:
        """At most 1000 boxes an image: boxes, scores, level numbers, count. Levels do not suppress one another."""
        top = by_phase(train=lambda: 2000, infer=lambda: 1000)
        found = []
        for level, (logits, deltas, anchors) in enumerate(zip(self.logits, self.deltas, self.anchors, strict=True)):
            scores, zero, row = ops.select_top(ops.sigmoid(logits), 0.0, k=top)
            boxes = ops.clip_boxes(ops.gather_rows(ops.decode_deltas(anchors, deltas), row), size)
            found.append((boxes, scores, zero + level))
        boxes, scores, levels = (ops.concat(*parts, axis=1) for parts in zip(*found, strict=True))
        return ops.nms(boxes, scores, levels, score_threshold, iou_threshold, keep=1000)

    def losses(self, image: Image, inside: Value) -> Mapping[str, Sequence[Value]]:
        """Cross entropy and L1 over 256 anchors an image, at most half of them positive (sec. 3.1.3)."""
        truth, prior = image.truth, ops.concat(*self.anchors, axis=0)
        target, matched, positive = ops.match_iou(
            prior, inside, truth.boxes, truth.labels * 0, truth.count, positive=0.7, negative=0.3, claim=0.3, classes=1
        )
        sampled = ops.sample_mask(positive, target > 0, image.sampling_seed, limit=256, share=0.5)
        count = ops.maximum(ops.total(ops.cast(sampled, to="f32")), 1.0)
        logits, deltas = ops.concat(*self.logits, axis=1)[:, :, 0], ops.concat(*self.deltas, axis=1)
        classified = ops.where(sampled, ops.bce(logits, ops.cast(positive, to="f32")), 0.0) / count
        offset = ops.total(ops.absolute(deltas - ops.encode_deltas(prior, matched)), axes=(-1,))
        learns = ops.cast(positive, to="f32") * ops.cast(sampled, to="f32")
        return {
            "loss_rpn_cls": sums_by_level(classified, self.anchors),
            "loss_rpn_bbox": sums_by_level(offset * learns / count, self.anchors),
        }


def rpn(levels: Sequence[Value], width: int = 256) -> Rpn:
    """A 3x3 convolution, then an objectness and a box offset for three anchors a cell; shared by all levels."""
    with scope("rpn_head"):
        head = share(_head, width)
        maps = tap("rpn_head", tuple(zip(*(head(p) for p in levels), strict=True)))
    logits = [to_cells(m, 1) for m in maps[0]]
    deltas = [to_cells(m, 4) for m in maps[1]]
    return Rpn(logits, deltas, [ops.anchor_grid(p, constant(cell(p.stride)), stride=p.stride) for p in levels])


def _head(level: Value, width: int) -> tuple[Value, Value]:
    hidden = ops.relu(conv("rpn_conv", level, width, deviation=0.01))
    logits = conv("rpn_cls", hidden, len(RATIOS), size=1, deviation=0.01)
    return logits, conv("rpn_reg", hidden, 4 * len(RATIOS), size=1, deviation=0.01)


def cell(stride: int, scale: float = 8.0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The anchors around a cell's origin: squares of `scale` strides, and their equals in area of other ratios."""
    tall = np.sqrt(np.asarray(RATIOS, np.float32))
    half = np.float32(scale * stride / 2) * np.stack([1 / tall, tall], 1)
    return np.concatenate([-half, half], 1).astype(np.float32)
