"""The second stage of Faster R-CNN: proposals to classes and boxes (Girshick 2015, arXiv:1504.08083)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphdet import ops
from graphdet.blocks.linear import linear
from graphdet.ir import Found, Image, Value, scope, setting

STDS = (0.1, 0.1, 0.2, 0.2)  # of box offsets: they are learnt in units of about one
Head = Callable[[Value, Value], tuple[Value, Value]]


@dataclass(frozen=True)
class Sampled:
    """Proposals that a training step looks at: boxes [N S 4], which exist b[N S], what each should become."""

    boxes: Value
    real: Value
    labels: Value
    matched: Value
    positive: Value

    @property
    def count(self) -> Value:
        """How many exist in each image, i64[N]: they come first."""
        return ops.total(ops.cast(self.real, to="i64"), axes=(1,))


def sample(image: Image, boxes: Value, count: Value, classes: int) -> Sampled:
    """512 of the proposals and the true boxes an image, a quarter of them positive (IoU of at least 0.5)."""
    truth = image.truth
    pool = ops.stop_gradient(ops.concat(truth.boxes, boxes, axis=1))
    exists = ops.concat(ops.exists(truth.count, truth.boxes), ops.exists(count, boxes), axis=1)
    labels, matched, positive = ops.match_iou(
        pool, exists, truth.boxes, truth.labels, truth.count, positive=0.5, negative=0.5, claim=2.0, classes=classes
    )
    negative = ops.cast(ops.cast(exists, to="i64") - ops.cast(positive, to="i64"), to="b")
    chosen = ops.sample_mask(positive, negative, image.sampling_seed, limit=512, share=0.25)
    index, real = ops.pick_rows(chosen, k=512)

    def pick(values: Value) -> Value:
        """The picked entries of [N A], as numbers."""
        rows = ops.reshape(ops.cast(values, to="i64"), shape=(*values.shape, 1))
        return ops.gather_rows(rows, index)[:, :, 0]

    return Sampled(
        ops.gather_rows(pool, index),
        real,
        ops.where(real, pick(labels), -1),
        ops.gather_rows(matched, index),
        ops.where(real, pick(positive), 0) > 0,
    )


def box_head(levels: Sequence[Value], classes: int, *, width: int = 1024) -> Head:
    """Two fully connected layers on 7x7 bins of each box's own level: logits [N*K classes+1], deltas [N*K 4*classes].

    Levels by size as in Lin et al. 2017, eq. 1. The returned function takes padded boxes [N K 4] and their count, and
    declares its parameters: share it to call it twice.
    """

    def head(boxes: Value, count: Value) -> tuple[Value, Value]:
        n, k = boxes.dim(0), boxes.dim(1)
        bins = ops.roi_align_levels(boxes, count, *levels, strides=tuple(float(p.stride) for p in levels))
        x = ops.reshape(bins, shape=(n * k, bins.dim(2) * 49))
        with scope("shared_fcs"):
            for i in range(2):
                x = ops.relu(linear(str(i), x, width))
        return linear("fc_cls", x, classes + 1, deviation=0.01), linear("fc_reg", x, 4 * classes, deviation=0.001)

    return head


def detect(image: Image, boxes: Value, logits: Value, deltas: Value, classes: int) -> Found:
    """The best 100 boxes an image after suppression within classes; each class moves a proposal in its own way."""
    n, k = boxes.dim(0), boxes.dim(1)
    scores = ops.reshape(ops.softmax(logits), shape=(n, k, classes + 1))[:, :, :classes]
    top, label, row = ops.select_top(scores, setting("score_threshold", 0.05), k=2000)
    moves = ops.gather_rows(ops.reshape(deltas, shape=(n, k * classes, 4)), row * classes + label)
    moved = ops.clip_boxes(ops.decode_deltas(ops.gather_rows(boxes, row), moves, stds=STDS), image.size)
    found = ops.nms(moved, top, label, setting("score_threshold", 0.05), setting("iou_threshold", 0.5), keep=100)
    return Found(ops.to_image(found[0], image.geometry), *found[1:])


def losses(rois: Sampled, logits: Value, deltas: Value, classes: int) -> Mapping[str, Value]:
    """Cross entropy over classes and background, L1 of the true class's offsets; both a mean over sampled boxes."""
    n, s = rois.labels.dim(0), rois.labels.dim(1)
    count = ops.maximum(ops.total(ops.cast(rois.real, to="f32")), 1.0)
    own = ops.reshape(ops.one_hot(rois.labels, classes=classes), shape=(n, s, classes, 1))
    own = ops.total(ops.reshape(deltas, shape=(n, s, classes, 4)) * own, axes=(2,))  # no offset for background
    positive = ops.reshape(rois.positive, shape=(n, s, 1))
    target = ops.where(positive, ops.encode_deltas(rois.boxes, rois.matched, stds=STDS), 0.0)
    return {
        "loss_cls": ops.total(ops.cross_entropy(logits, ops.reshape(rois.labels, shape=(n * s,)))) / count,
        "loss_bbox": ops.total(ops.absolute(own - target)) / count,
    }
