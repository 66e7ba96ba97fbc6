"""Set prediction: queries that say one object each, matched one to one (Carion et al. 2020, arXiv:2005.12872)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphdet import ops
from graphdet.ir import Found, Image, Segments, Value
from graphdet.zoo.parts.dense import chosen


@dataclass(frozen=True)
class Matched:
    """What each query should say: labels i64[N Q] (`classes`: no object), boxes<xyxy,net>[N Q 4], positive b[N Q]."""

    labels: Value
    boxes: Value
    positive: Value

    @property
    def count(self) -> Value:
        """How many objects the batch holds, f32[]; at least 1. Of several processes, the mean."""
        return ops.maximum(ops.mean_over_processes(ops.total(ops.cast(self.positive, to="f32"))), 1.0)


def relative(boxes: Value, size: Value) -> Value:
    """Boxes<xyxy,net> [N K 4] as centre and sides, in parts of their image: f[N K 4]."""
    low, high = boxes[:, :, :2], boxes[:, :, 2:]
    return ops.concat((low + high) / 2.0, high - low, axis=-1) / sides(size)


def absolute(places: Value, size: Value) -> Value:
    """The inverse of `relative`: boxes<xyxy,net> [N K 4]."""
    centre, half = places[:, :, :2], places[:, :, 2:] / 2.0
    corners = ops.concat(centre - half, centre + half, axis=-1) * sides(size)
    return ops.as_boxes(corners, format="xyxy", frame="net")


def sides(size: Value) -> Value:
    """(width, height, width, height) of each image, f[N 1 4]."""
    width, height = size[:, 1:], size[:, :1]
    return ops.reshape(ops.concat(width, height, width, height, axis=1), shape=(size.dim(0), 1, 4))


def focal_cost(logits: Value, *, alpha: float = 0.25) -> Value:
    """What it costs to take a query for each class, by the focal loss (Zhu et al. 2021, app. A.3): f[N Q classes]."""
    p, tiny = ops.sigmoid(logits), 1e-12
    yes = ops.square(1.0 - p) * ops.log(p + tiny) * -alpha
    return yes - ops.square(p) * ops.log(1.0 - p + tiny) * (alpha - 1.0)


def match(image: Image, class_cost: Value, places: Value, labels: Value, classes: int) -> Matched:
    """The pairs of queries and objects of least cost: class + 5 L1 + 2 generalised IoU (eq. 1).

    class_cost: f[N Q G] · places: what queries predict, in the form of `relative` · labels: of the objects, i64[N G].
    """
    truth, n, q = image.truth, places.dim(0), places.dim(1)
    g = truth.boxes.dim(1)
    wanted = ops.reshape(relative(truth.boxes, image.size), shape=(n, 1, g, 4))
    distance = ops.total(ops.absolute(ops.reshape(places, shape=(n, q, 1, 4)) - wanted), axes=(3,))
    overlap = ops.pairwise_iou(absolute(places, image.size), truth.boxes, generalised=True)
    owner = ops.match_one_to_one(class_cost + 5.0 * distance - 2.0 * overlap, truth.count)
    nothing = ops.as_boxes(ops.expand(0.0, shape=(n, 1, 4)), format="xyxy", frame="net")
    boxes = ops.gather_rows(ops.concat(nothing, truth.boxes, axis=1), owner + 1)
    return Matched(labels_of(owner, labels, classes), boxes, owner > -1)


def labels_of(owner: Value, labels: Value, classes: int) -> Value:
    """The label i64[N Q] of the object that each query takes; `classes` for owner -1."""
    n, g = labels.shape
    nothing = ops.cast(ops.expand(float(classes), shape=(n, 1, 1)), to="i64")
    named = ops.concat(nothing, ops.reshape(labels, shape=(n, g, 1)), axis=1)
    return ops.gather_rows(named, owner + 1)[:, :, 0]


def box_losses(image: Image, places: Value, target: Matched) -> Mapping[str, Value]:
    """5 L1 + 2 generalised IoU of matched queries, a mean over objects (eq. 2)."""
    positive = ops.reshape(target.positive, shape=(*target.positive.shape, 1))
    distance = ops.where(positive, ops.absolute(places - relative(target.boxes, image.size)), 0.0)
    overlap = ops.iou(absolute(places, image.size), target.boxes, generalised=True)
    return {
        "loss_bbox": 5.0 * ops.total(distance) / target.count,
        "loss_iou": 2.0 * ops.total(ops.where(target.positive, 1.0 - overlap, 0.0)) / target.count,
    }


def every_layer(
    losses: Callable[[Value, Value], Mapping[str, Value]], said: Sequence[tuple[Value, Value]]
) -> dict[str, Value]:
    """The losses of each decoder layer's (logits, places); those of all but the last are named `d0.loss_cls`, ..."""
    named = [(f"d{i}." if i + 1 < len(said) else "", losses(*pair)) for i, pair in enumerate(said)]
    return {prefix + name: value for prefix, terms in named for name, value in terms.items()}


def detections(image: Image, boxes: Value, scores: Value, labels: Value, masks: Value | None = None) -> Found:
    """Chosen rows, best first, as detections; a score of -1 marks rows that do not exist."""
    return replace(chosen(image, ops.clip_boxes(boxes, image.size), scores, labels), masks=masks)


def segments(logits: Value, maps: Value, classes: int, things: int) -> Segments:
    """What each query says of one segment; a query whose best class is no object has score 0."""
    scores, labels = ops.softmax(logits), ops.best_index(logits)
    score = ops.as_scores(ops.where(labels < classes, ops.best(scores), 0.0))
    return Segments(score, labels, ops.cast(labels < things, to="i64"), maps)
