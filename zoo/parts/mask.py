"""The mask branch of Mask R-CNN: a small grid over every box (He et al. 2017, arXiv:1703.06870, fig. 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphdet import ops
from graphdet.blocks.conv import conv, conv_transpose
from graphdet.ir import Image, Value, scope, tap
from graphdet.zoo.parts.rcnn import Sampled, bins

Head = Callable[[Value, Value], Value]
GRID = 28  # cells of a mask along each side


def mask_head(levels: Sequence[Value], classes: int, *, width: int = 256) -> Head:
    """Four convolutions on 14x14 bins of each box's own level, then twice as fine: logits [N*K classes 28 28].

    The returned function takes padded boxes [N K 4] and their count, and declares its parameters: share it to call it
    twice.
    """

    def head(boxes: Value, count: Value) -> Value:
        n, k, *grid = (x := bins(levels, boxes, count, GRID // 2)).shape
        x = ops.reshape(x, shape=(n * k, *grid))
        for i in range(4):
            with scope("convs"), scope(i):
                x = ops.relu(conv("conv", x, width))
        x = ops.relu(conv_transpose("upsample", x, width, size=2, stride=2))
        return conv("conv_logits", x, classes, size=1)

    return head


def of_label(logits: Value, labels: Value) -> Value:
    """The grid of each box's own class: f32[N K 28 28]. A label of no class (padding, background) reads any."""
    n, k, classes = labels.dim(0), labels.dim(1), logits.dim(1).constant or 1
    cells = ops.reshape(logits, shape=(n * k, classes, GRID * GRID))
    own = ops.reshape(ops.minimum(ops.maximum(labels, 0), classes - 1), shape=(n * k, 1))
    return ops.reshape(ops.gather_rows(cells, own), shape=(n, k, GRID, GRID))


def detect(head: Head, boxes: Value, labels: Value, count: Value, *, name: str = "roi_head.mask_head") -> Value:
    """What a head says of detections given in net pixels: scores [N K 28 28]. Its logits are tapped by `name`.

    It computes for padding too: cut that first.
    """
    return ops.sigmoid(of_label(tap(name, head(boxes, count)), labels))


def mean(scores: Sequence[Value]) -> Value:
    """Masks of detections from what one or more heads say of them: masks<roi> [N K 28 28]."""
    return ops.as_masks(sum(scores[1:], scores[0]) / float(len(scores)), frame="roi")


def loss(head: Head, image: Image, rois: Sampled) -> Value:
    """Binary cross entropy on the true class's grid alone, a mean over the positive boxes and their cells (sec. 3)."""
    boxes, labels, objects, positive = (x[:, :128] for x in (rois.boxes, rois.labels, rois.objects, rois.positive))
    learns = ops.cast(positive, to="f32")  # the positive ones come first, and are no more
    target = ops.crop_masks(image.truth.masks, boxes, objects, size=(GRID, GRID))
    count = ops.total(ops.cast(positive, to="i64"), axes=(1,))
    cells = ops.bce(of_label(head(boxes, count), labels), target)
    each = ops.total(cells, axes=(-1, -2)) * learns
    return ops.total(each) / ops.maximum(ops.mean_over_processes(ops.total(learns)) * GRID**2, 1.0)
