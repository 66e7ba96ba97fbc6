"""The mask branch of Mask R-CNN: a small grid over every box (He et al. 2017, arXiv:1703.06870, fig. 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphdet import ops
from graphdet.blocks.conv import Unit, conv, conv_transpose, conv_unit
from graphdet.ir import Image, Value, tap
from graphdet.zoo.parts.rcnn import Sampled, bins, flat

Head = Callable[[Value, Value], Value]
BINS = 14  # along each side of a box


def mask_head(levels: Sequence[Value], classes: int, *, width: int = 256, unit: Unit = conv_unit) -> Head:
    """Four convolutions on 14x14 bins of each box's own level, then twice as fine: logits [N*K classes 28 28].

    The returned function takes padded boxes [N K 4] and their count, and declares its parameters: share it to call it
    twice. unit: each of the four, with its norm if it has one.
    """

    def head(boxes: Value, count: Value) -> Value:
        x = flat(bins(levels, boxes, count, BINS))
        for i in range(4):
            x = ops.relu(unit(f"convs.{i}", x, width, size=3))
        return finer(x, classes, width)

    return head


def finer(x: Value, classes: int, width: int = 256) -> Value:
    """Logits of every class on a grid twice as fine: [R C h w] to [R classes 2h 2w]."""
    x = ops.relu(conv_transpose("upsample", x, width, size=2, stride=2))
    return conv("conv_logits", x, classes, size=1)


def of_label(logits: Value, labels: Value) -> Value:
    """The h x w grid of each box's own class: f32[N K h w]. A label of no class (padding, background) reads any."""
    n, k, classes, (h, w) = labels.dim(0), labels.dim(1), logits.dim(1).constant or 1, logits.shape[2:]
    cells = ops.reshape(logits, shape=(n * k, classes, h * w))
    own = ops.reshape(ops.minimum(ops.maximum(labels, 0), classes - 1), shape=(n * k, 1))
    return ops.reshape(ops.gather_rows(cells, own), shape=(n, k, h, w))


def detect(head: Head, boxes: Value, labels: Value, count: Value, *, name: str = "roi_head.mask_head") -> Value:
    """What a head says of detections given in net pixels: scores [N K h w]. Its logits are tapped by `name`.

    It computes for padding too: cut that first.
    """
    return ops.sigmoid(of_label(tap(name, head(boxes, count)), labels))


def mean(scores: Sequence[Value]) -> Value:
    """Masks of detections from what one or more heads say of them: masks<roi> [N K h w]."""
    return ops.as_masks(sum(scores[1:], scores[0]) / float(len(scores)), frame="roi")


def loss(head: Head, image: Image, rois: Sampled) -> Value:
    """Binary cross entropy on the true class's grid alone, a mean over the positive boxes and their cells (sec. 3)."""
    boxes, labels, objects, positive = (x[:, :128] for x in (rois.boxes, rois.labels, rois.objects, rois.positive))
    learns = ops.cast(positive, to="f32")  # the positive ones come first, and are no more
    said = of_label(head(boxes, ops.total(ops.cast(positive, to="i64"), axes=(1,))), labels)
    h, w = (d.constant or 1 for d in said.shape[2:])
    cells = ops.bce(said, ops.crop_masks(image.truth.masks, boxes, objects, size=(h, w)))
    each = ops.total(cells, axes=(-1, -2)) * learns
    return ops.total(each) / ops.maximum(ops.mean_over_processes(ops.total(learns)) * float(h * w), 1.0)
