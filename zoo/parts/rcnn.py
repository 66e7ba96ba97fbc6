"""The second stage of Faster R-CNN: proposals to classes and boxes (Girshick 2015, arXiv:1504.08083)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphdet import ops
from graphdet.blocks.conv import Unit
from graphdet.blocks.linear import linear
from graphdet.ir import Found, Image, Value, by_phase, scope, setting, tap, tensor
from graphdet.ir.trace import graph_input
from graphdet.ir.types import boxes as boxes_type
from graphdet.zoo.parts.crowds import apart

Quad = tuple[float, float, float, float]
Head = Callable[[Value, Value], tuple[Value, Value]]
Regression = Callable[[Value, Value, Value, Quad], Value]
Draw = Callable[["Candidates"], Value]
Suppress = Callable[[Value, Value, Value], tuple[Value, Value, Value, Value]]
STDS = (0.1, 0.1, 0.2, 0.2)  # of box offsets: they are learnt in units of about one
CANDIDATES = 20 * 1000  # fewer than 20 of a proposal's classes exceed 0.05, the default threshold: none is left out


@dataclass(frozen=True)
class Candidates:
    """What a sampler draws from: boxes f32[N A 4] with their labels i64[N A], those to find and those of background.

    head: classifies them · image: theirs.
    """

    boxes: Value
    labels: Value
    positive: Value
    negative: Value
    head: Head
    image: Image


@dataclass(frozen=True)
class Sampled:
    """Proposals that a training step looks at, [N S ...] and the positive ones first.

    boxes: where · real: which exist · given: which are true boxes themselves · labels: what each should become (the
    number of classes: background; -1: does not exist) · matched: the true box of a positive one · positive: which are ·
    objects: which of its image's true boxes that is.
    """

    boxes: Value
    real: Value
    given: Value
    labels: Value
    matched: Value
    positive: Value
    objects: Value

    @property
    def count(self) -> Value:
        """How many exist in each image, i64[N]: they come first."""
        return ops.total(ops.cast(self.real, to="i64"), axes=(1,))


def given(image: Image, most: int) -> tuple[Value, Value]:
    """Proposals that the caller gives: boxes<xyxy,net> [N most 4], of which the first `count` i64[N] exist.

    They are the graph inputs `proposals.boxes` and `proposals.count`. In use, boxes are given in pixels of the original
    image, as detections are; in training in net pixels, as the truth is.
    """

    def boxes(frame: str) -> Value:
        return graph_input("proposals.boxes", boxes_type(frame, image.batch, most, 4))

    placed = by_phase(train=lambda: boxes("net"), infer=lambda: ops.to_net(boxes("image"), image.geometry))
    return placed, graph_input("proposals.count", tensor("i64", image.batch))


def at_random(some: Candidates) -> Value:
    """512 of the candidates, up to a quarter of them positive."""
    return ops.sample_mask(some.positive, some.negative, some.image.sampling_seed, limit=512, share=0.25)


def spread(some: Candidates) -> Value:
    """The same number, those of background spread evenly over their IoU (Pang et al. 2019, arXiv:1904.02701)."""
    truth, candidate = some.image.truth, some.positive | some.negative
    overlap = ops.where(candidate, ops.largest_overlap(some.boxes, truth.boxes, truth.count), 0.0)
    return ops.sample_spread(some.positive, some.negative, overlap, some.image.sampling_seed, limit=512, share=0.25)


def hardest(some: Candidates) -> Value:
    """The same number, those that the head classifies worst (Shrivastava et al. 2016, arXiv:1604.03540)."""
    everyone = ops.total(ops.maximum(ops.cast(some.positive, to="i64"), 1), axes=(1,))
    logits, _ = some.head(some.boxes, everyone)
    loss = ops.cross_entropy(logits, flat(some.labels))
    return ops.sample_hardest(
        some.positive, some.negative, ops.reshape(loss, shape=some.labels.shape), limit=512, share=0.25
    )


def sample(
    image: Image,
    head: Head,
    boxes: Value,
    real: Value,
    classes: int,
    *,
    overlap: float = 0.5,
    claim: float = 2.0,
    draw: Draw = at_random,
) -> Sampled:
    """512 of the proposals that are real and of the true boxes; those with an IoU of at least `overlap` are positive.

    claim: see `match_iou` · draw: which of them.
    """
    truth = image.truth
    given = ops.exists(truth.count, truth.boxes)
    pool = ops.stop_gradient(ops.concat(truth.boxes, boxes, axis=1))
    exists = ops.concat(given, real, axis=1)
    labels, matched, positive, objects = ops.match_iou(
        pool, exists, truth.boxes, truth.labels, truth.count,
        positive=overlap, negative=overlap, claim=claim, classes=classes,
    )  # fmt: skip
    chosen = draw(Candidates(pool, labels, positive, exists & ~positive, head, image))
    index, found = ops.pick_rows(chosen, positive, k=512)
    return Sampled(
        ops.gather_rows(pool, index),
        found,
        found & ops.gather(ops.concat(given, real & ~real, axis=1), index),
        ops.where(found, ops.gather(labels, index), -1),
        ops.gather_rows(matched, index),
        found & ops.gather(positive, index),
        ops.gather(objects, index),
    )


def box_head(
    levels: Sequence[Value],
    classes: int,
    *,
    width: int = 1024,
    kinds: int | None = None,
    unit: Unit | None = None,
) -> Head:
    """Two fully connected layers on 7x7 bins of each box's own level: logits [N*K classes+1], deltas [N*K 4*kinds].

    Levels by size as in Lin et al. 2017, eq. 1. kinds: `classes`, or 1 where all move a box alike · unit: four such
    convolutions instead of the first layer (Wu and He 2018, arXiv:1803.08494, sec. 5.2). The returned function takes
    padded boxes [N K 4] and their count, and declares its parameters: share it to call it twice.
    """

    def head(boxes: Value, count: Value) -> tuple[Value, Value]:
        x = bins(levels, boxes, count)
        if unit:
            x = flat(x)
            for i in range(4):
                x = ops.relu(unit(f"shared_convs.{i}", x, x.dim(1).constant or 1, size=3))
        return predict(layers(x, width, 1 if unit else 2), classes, kinds)

    return head


def bins(levels: Sequence[Value], boxes: Value, count: Value, size: int = 7) -> Value:
    """What each box [N K 4] holds, on a grid of size x size bins: f[N K C size size]."""
    return ops.roi_align_levels(
        boxes, count, *levels, strides=tuple(float(p.stride) for p in levels), size=(size, size)
    )


def flat(x: Value) -> Value:
    """The boxes of all images in one row: [N K ...] as [N*K ...]."""
    n, k, *rest = x.shape
    return ops.reshape(x, shape=(n * k, *rest))


def layers(x: Value, width: int, count: int = 2) -> Value:
    """Bins [N K C h w] or [N*K C h w] through fully connected layers: f[N*K width]."""
    *rows, channels, h, w = x.shape
    x = ops.reshape(x, shape=(math.prod(rows[1:], start=rows[0]), channels * h * w))
    with scope("shared_fcs"):
        for i in range(count):
            x = ops.relu(linear(str(i), x, width))
    return x


def predict(x: Value, classes: int, kinds: int | None = None) -> tuple[Value, Value]:
    """Rows [R C] to logits of the classes and of background [R classes+1], and to box offsets [R 4*kinds]."""
    logits = linear("fc_cls", x, classes + 1, deviation=0.01)
    return logits, linear("fc_reg", x, 4 * (kinds or classes), deviation=0.001)


def greedily(boxes: Value, scores: Value, labels: Value) -> tuple[Value, Value, Value, Value]:
    """The best 100 boxes of which none overlaps a better one of its class too much."""
    return ops.nms(boxes, scores, labels, setting("score_threshold", 0.05), setting("iou_threshold", 0.5), keep=100)


def softly(boxes: Value, scores: Value, labels: Value) -> tuple[Value, Value, Value, Value]:
    """The best 100 boxes after the scores of those that overlap have shrunk (Bodla et al. 2017, arXiv:1704.04503)."""
    return ops.soft_nms(boxes, scores, labels, 1e-3, setting("iou_threshold", 0.5), keep=100)


def second_stage(
    image: Image,
    head: Head,
    boxes: Value,
    count: Value,
    classes: int,
    regression: Regression,
    draw: Draw = at_random,
    suppress: Suppress = greedily,
    ignore: float = 1.0,
) -> tuple[Found, Mapping[str, Value]]:
    """Detections from an image's proposals, and what the head learns from 512 of them; ignore: see `crowds.apart`."""
    said = tap("roi_head.bbox_head", head(boxes, count))
    real = apart(image, boxes, ops.exists(count, boxes), ignore)
    sampled = sample(image, head, boxes, real, classes, draw=draw)
    seen = head(sampled.boxes, sampled.count)
    return detect(image, boxes, count, *said, classes, suppress=suppress), losses(sampled, *seen, classes, regression)


def select(
    image: Image,
    boxes: Value,
    count: Value,
    logits: Value,
    deltas: Value,
    classes: int,
    stds: Quad = STDS,
    suppress: Suppress = greedily,
) -> tuple[Value, Value, Value, Value]:
    """The best 100 boxes an image after suppression within classes: boxes in net pixels, scores, labels, count.

    The first `count` proposals exist. Each class moves a proposal in its own way, unless there are offsets of one kind
    only.
    """
    n, k, kinds = boxes.dim(0), boxes.dim(1), (deltas.dim(1) // 4).constant or 1
    exists = ops.reshape(ops.exists(count, boxes), shape=(n, k, 1))
    scores = ops.where(exists, ops.reshape(ops.softmax(logits), shape=(n, k, classes + 1))[:, :, :classes], 0.0)
    top, label, row = ops.select_top(scores, setting("score_threshold", 0.05), k=CANDIDATES)
    moves = ops.gather_rows(ops.reshape(deltas, shape=(n, k * kinds, 4)), row * kinds + ops.minimum(label, kinds - 1))
    moved = ops.clip_boxes(ops.decode_deltas(ops.gather_rows(boxes, row), moves, stds=stds), image.size)
    return suppress(moved, top, label)


def detect(
    image: Image,
    boxes: Value,
    count: Value,
    logits: Value,
    deltas: Value,
    classes: int,
    stds: Quad = STDS,
    suppress: Suppress = greedily,
) -> Found:
    """`select`, moved to the original image."""
    placed, *said = select(image, boxes, count, logits, deltas, classes, stds, suppress)
    return Found(ops.to_image(placed, image.geometry), *said)


def losses(
    rois: Sampled, logits: Value, deltas: Value, classes: int, regression: Regression, stds: Quad = STDS
) -> Mapping[str, Value]:
    """Cross entropy over classes and background, a loss of the true class's offsets; both a mean over sampled boxes."""
    n, s, kinds = rois.labels.dim(0), rois.labels.dim(1), (deltas.dim(1) // 4).constant or 1
    count = ops.maximum(ops.mean_over_processes(ops.total(ops.cast(rois.real, to="f32"))), 1.0)
    own = ops.reshape(ops.one_hot(ops.minimum(rois.labels, kinds - 1), classes=kinds), shape=(n, s, kinds, 1))
    own = ops.total(ops.reshape(deltas, shape=(n, s, kinds, 4)) * own, axes=(2,))
    positive = ops.reshape(rois.positive, shape=(n, s, 1))
    own = ops.where(positive, own, 0.0)  # whatever the loss of the others is, they do not learn from it
    regressed = ops.where(rois.positive, regression(rois.boxes, own, rois.matched, stds), 0.0)
    return {
        "loss_cls": ops.total(ops.cross_entropy(logits, ops.reshape(rois.labels, shape=(n * s,)))) / count,
        "loss_bbox": ops.total(regressed) / count,
    }


def offsets(distance: Callable[[Value], Value] = ops.absolute) -> Regression:
    """The distance between offsets said and wanted, summed over the four."""

    def regression(boxes: Value, said: Value, matched: Value, stds: Quad) -> Value:
        return ops.total(distance(said - ops.encode_deltas(boxes, matched, stds=stds)), axes=(-1,))

    return regression


L1 = offsets()


def overlaps(loss: Callable[[Value, Value], Value], weight: float) -> Regression:
    """A loss of the moved boxes themselves, weighted."""

    def regression(boxes: Value, said: Value, matched: Value, stds: Quad) -> Value:
        return loss(ops.decode_deltas(boxes, said, stds=stds), matched) * weight

    return regression
