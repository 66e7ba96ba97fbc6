"""RetinaNet: dense anchors on pyramid levels, trained with the focal loss (Lin et al. 2017, arXiv:1708.02002)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import sums_by_level, to_cells
from graphdet.ir import Detector, Image, Value, constant, detector, scope, share, tap, within
from graphdet.zoo.necks.fpn import fpn
from graphdet.zoo.parts import dense
from graphdet.zoo.parts.rows import rows

VARIANTS = rows(  # box AP on COCO val2017 as the reference reports it for its 1x schedule
    "retinanet_{}",
    "retinanet/retinanet_{}_fpn_1x_coco.py",
    {
        "r18": 31.7, "r50": 36.5, "r50_caffe": 36.3, "r101": 38.5, "r101_caffe": 38.5,
        "x101_32x4d": 39.9, "x101_64x4d": 41.0,
    },
)  # fmt: skip


@detector(VARIANTS)
def retinanet(
    image: Image, *, body: Callable[[Value], list[Value]], num_classes: int = 80, width: int = 256
) -> Detector:
    """Predict a class score and a box offset for nine anchors at every cell of P3 .. P7."""
    features = within("backbone", body, image.pixels)  # c2 .. c5
    levels = within("neck", fpn, features[1:], width, extra=2)  # P3 .. P7                                       sec. 4
    with scope("bbox_head"):
        classify = share(head, "cls", 9 * num_classes, width=width, bias=dense.PRIOR)  # sec. 4.1
        regress = share(head, "reg", 9 * 4, width=width)
        maps = tap("bbox_head", ([classify(p) for p in levels], [regress(p) for p in levels]))
    logits = [to_cells(m, num_classes) for m in maps[0]]  # f[N A classes] a level
    deltas = [to_cells(m, 4) for m in maps[1]]  # f[N A 4]
    anchors = [ops.anchor_grid(p, constant(cell(p.stride)), stride=p.stride) for p in levels]  # boxes<xyxy,net>[A 4]
    scores = [ops.sigmoid(x) for x in logits]
    boxes = [ops.decode_deltas(a, d) for a, d in zip(anchors, deltas, strict=True)]

    truth = image.truth
    prior = ops.concat(*anchors, axis=0)
    inside = ops.concat(*(ops.cells_inside(p, image.padded, stride=p.stride, per_cell=9) for p in levels), axis=1)
    target, matched, positive, _ = ops.match_iou(
        prior, inside, truth.boxes, truth.labels, truth.count, positive=0.5, negative=0.4, classes=num_classes
    )
    learns = ops.maximum(ops.total(ops.cast(positive, to="f32"), axes=(1,)), 1.0)  # at least one an image
    count = ops.mean_over_processes(ops.total(learns))
    classified = ops.focal_loss(ops.concat(*logits, axis=1), target, alpha=0.25, gamma=2.0) / count
    offset = ops.absolute(ops.concat(*deltas, axis=1) - ops.encode_deltas(prior, matched))
    regressed = ops.where(positive, ops.total(offset, axes=(-1,)), 0.0) / count
    return Detector(
        detections=dense.detect(image, scores, boxes, iou=0.5),
        losses={"loss_cls": sums_by_level(classified, anchors), "loss_bbox": sums_by_level(regressed, anchors)},
    )


def head(level: Value, kind: str, outputs: int, *, width: int, bias: float = 0.0) -> Value:
    """Four 3x3 convolutions and a prediction; the same weights on every level (fig. 3 c, d)."""
    with scope(f"{kind}_convs"):
        for i in range(4):
            with scope(i):
                level = ops.relu(conv("conv", level, width, deviation=0.01))
    return conv(f"retina_{kind}", level, outputs, deviation=0.01, bias_value=bias)


def cell(stride: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The nine anchors around a cell's origin: base 4 strides, three octave scales in each of three ratios h / w."""
    sizes = []
    for ratio, octave in product((0.5, 1.0, 2.0), range(3)):
        side = np.float32(4 * 2 ** (octave / 3) * stride)
        sizes.append((side / np.sqrt(np.float32(ratio)), side * np.sqrt(np.float32(ratio))))
    half = np.asarray(sizes, np.float32) / 2
    return np.concatenate([-half, half], 1)
