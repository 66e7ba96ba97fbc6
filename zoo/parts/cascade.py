"""Stages that refine each other's boxes (Cai and Vasconcelos 2018, arXiv:1712.00726)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphdet import ops
from graphdet.ir import Image, Value, scope, share, tap
from graphdet.zoo.parts import rcnn


@dataclass(frozen=True)
class Stage:
    """overlap: IoU from which a box is positive · stds: of its offsets, which get smaller · weight: of its losses."""

    overlap: float
    stds: rcnn.Quad
    weight: float


STAGES = (  # sec. 5.1; weights are the reference's
    Stage(0.5, (0.1, 0.1, 0.2, 0.2), 1.0),
    Stage(0.6, (0.05, 0.05, 0.1, 0.1), 0.5),
    Stage(0.7, (0.033, 0.033, 0.067, 0.067), 0.25),
)


@dataclass(frozen=True)
class Cascade:
    """Of the last stage: boxes f[N K 4] that it moves, logits (the mean over stages), deltas; and what training sees.

    sampled: the boxes that each stage learnt from · losses: of all stages, weighted.
    """

    boxes: Value
    logits: Value
    deltas: Value
    sampled: Sequence[rcnn.Sampled]
    losses: Mapping[str, Value]


def cascade(
    image: Image, boxes: Value, count: Value, heads: Sequence[rcnn.Head], classes: int,
    distance: Callable[[Value], Value] = ops.smooth_l1,
) -> Cascade:  # fmt: skip
    """Run the stages one after another; each head declares its parameters under `bbox_head.i`."""
    said, sampled, losses = list[tuple[Value, Value]](), list[rcnn.Sampled](), dict[str, Value]()
    rois, real = boxes, ops.exists(count, boxes)
    for i, (stage, head) in enumerate(zip(STAGES, map(share, heads), strict=True)):
        if said:
            boxes = refine(image, boxes, said[-1][1], STAGES[i - 1].stds)
        with scope("bbox_head"), scope(i):
            said.append(tap(f"roi_head.bbox_head.{i}", head(boxes, count)))
            seen = rcnn.sample(image, head, rois, real, classes, overlap=stage.overlap)
            logits, deltas = head(seen.boxes, seen.count)
        terms = rcnn.losses(seen, logits, deltas, classes, rcnn.offsets(distance), stage.stds)
        losses.update({f"s{i}.{name}": term * stage.weight for name, term in terms.items()})
        rois, real = refine(image, seen.boxes, deltas, stage.stds), seen.real & ~seen.given
        sampled.append(seen)
    mean = sum((logits for logits, _ in said[1:]), said[0][0]) / float(len(STAGES))
    return Cascade(boxes, mean, said[-1][1], sampled, losses)


def refine(image: Image, boxes: Value, deltas: Value, stds: rcnn.Quad) -> Value:
    """Boxes [N K 4] moved by offsets [N*K 4], within the image."""
    return ops.clip_boxes(ops.decode_deltas(boxes, ops.reshape(deltas, shape=boxes.shape), stds=stds), image.size)
