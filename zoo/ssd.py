"""SSD: default boxes on levels of ever coarser features, softmax over classes (Liu et al. 2016, arXiv:1512.02325)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphdet import ops
from graphdet.blocks.conv import YOLO_NORM, conv
from graphdet.blocks.rows import rows, to_cells
from graphdet.ir import Detector, Image, Value, constant, detector, row, scope, tap, within
from graphdet.records import Preprocess
from graphdet.zoo.backbones.mobilenet import MobileNetV2
from graphdet.zoo.backbones.vgg import ssd_vgg16
from graphdet.zoo.classes import COCO
from graphdet.zoo.necks.ssd import Extra, lite, normalised, plain, separable, ssd_neck
from graphdet.zoo.parts import dense

STDS = (0.1, 0.1, 0.2, 0.2)  # of box offsets


@dataclass(frozen=True)
class Boxes:
    """Default boxes (sec. 2.2). A level's are squares of side s_k and sqrt(s_k s_k+1), then of s_k in other ratios."""

    strides: Sequence[int]
    sides: Sequence[int]  # one more than levels
    ratios: Sequence[Sequence[int]]

    def cell(self, level: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """The boxes around the middle of a level's first cell."""
        small, large, ratios = self.sides[level], self.sides[level + 1], self.ratios[level]
        shapes = [(1.0, 1.0), (np.sqrt(large / small), 1.0), *((1.0, r**sign) for r in ratios for sign in (-1.0, 1.0))]
        half = [(small * scale / 2 / np.sqrt(ratio), small * scale / 2 * np.sqrt(ratio)) for scale, ratio in shapes]
        middle = self.strides[level] / 2
        return np.asarray([(middle - w, middle - h, middle + w, middle + h) for w, h in half], np.float32)


def _square(side: int, std: tuple[float, float, float] = (1.0, 1.0, 1.0), divisor: int = 1) -> Preprocess:
    return Preprocess("rgb", (123.675, 116.28, 103.53), std, (side, side), "stretch", divisor=divisor)


def predict(name: str, x: Value, out: int) -> Value:
    """A 3x3 convolution."""
    with scope(name):
        return conv("0", x, out, deviation=0.01)


def predict_lite(name: str, x: Value, out: int) -> Value:
    """A 3x3 convolution a channel, then a 1x1 convolution."""
    channels = x.dim(1).constant or 1
    with scope(name):
        return conv("1", lite("0", x, channels, groups=channels), out, size=1, deviation=0.001)


SSD300 = Boxes((8, 16, 32, 64, 100, 300), (21, 45, 99, 153, 207, 261, 315), ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)))
SSD512 = Boxes(
    (8, 16, 32, 64, 128, 256, 512),
    (20, 51, 133, 215, 296, 378, 460, 542),
    ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
)
LITE = Boxes((16, 32, 64, 107, 160, 320), (48, 100, 150, 202, 253, 304, 320), ((2, 3),) * 6)
HALVED: Extra = (256, 3, 2, 1)
VARIANTS = {  # box AP on COCO val2017 as the reference reports it
    "ssd300": row(
        _square(300), ap=25.5, classes=COCO, upstream="ssd/ssd300_coco.py", boxes=SSD300,
        extra=((512, 3, 2, 1), HALVED, (256, 3, 1, 0), (256, 3, 1, 0)),
    ),
    "ssd512": row(
        _square(512), ap=29.5, classes=COCO, upstream="ssd/ssd512_coco.py", boxes=SSD512,
        extra=((512, 3, 2, 1), HALVED, HALVED, HALVED, (256, 4, 1, 1)),
    ),
    "ssdlite_mobilenetv2": row(
        _square(320, (58.395, 57.12, 57.375), 32), ap=21.3, classes=COCO, body=MobileNetV2((5, 8), YOLO_NORM),
        upstream="ssd/ssdlite_mobilenetv2_scratch_600e_coco.py", boxes=LITE, first=lambda c4, c5: [c4, c5],
        layer=separable, predict=predict_lite, extra=((512, 3, 2, 1), HALVED, HALVED, (128, 3, 2, 1)),
    ),
}  # fmt: skip


@detector(VARIANTS)
def ssd(
    image: Image,
    *,
    boxes: Boxes,
    extra: Sequence[Extra],
    num_classes: int = 80,
    body: Callable[[Value], list[Value]] = ssd_vgg16,
    first: Callable[[Value, Value], list[Value]] = normalised,
    layer: Callable[..., Value] = plain,
    predict: Callable[[str, Value, int], Value] = predict,
) -> Detector:
    """Predict class scores and a box offset for each default box of every cell.

    extra: channels, kernel size, stride and padding of the levels after the body's two.
    """
    features = within("backbone", body, image.pixels)
    levels = within("neck", ssd_neck, features, first, layer, extra)
    cells = [boxes.cell(i) for i in range(len(levels))]
    with scope("bbox_head"):
        each = list(enumerate(zip(levels, cells, strict=True)))
        raw = [predict(f"cls_convs.{i}", x, len(c) * (num_classes + 1)) for i, (x, c) in each]
        moves = [predict(f"reg_convs.{i}", x, len(c) * 4) for i, (x, c) in each]
        tap("bbox_head", (raw, moves))
    anchors = [ops.anchor_grid(x, constant(c), stride=boxes.strides[i]) for i, (x, c) in each]
    scores = [ops.softmax(to_cells(m, num_classes + 1))[..., :num_classes] for m in raw]
    found = [ops.decode_deltas(a, to_cells(m, 4), stds=STDS) for a, m in zip(anchors, moves, strict=True)]

    truth, prior = image.truth, ops.concat(*anchors, axis=0)
    inside = [ops.cells_inside(x, image.padded, stride=boxes.strides[i], per_cell=len(c)) for i, (x, c) in each]
    label, matched, positive, _ = ops.match_iou(
        prior, ops.concat(*inside, axis=1), truth.boxes, truth.labels, truth.count,
        positive=0.5, negative=0.5, classes=num_classes, ties=False,
    )  # fmt: skip
    learns = ops.cast(positive, to="f32")
    count = ops.mean_over_processes(ops.total(ops.maximum(ops.total(learns, axes=(1,)), 1.0)))  # at least one an image
    classified = ops.cross_entropy(rows(raw, num_classes + 1), label)
    hard = ops.hardest(classified, positive, (label > num_classes - 0.5), ratio=3)  # sec. 2.2
    offset = ops.smooth_l1(rows(moves, 4) - ops.encode_deltas(prior, matched, stds=STDS))
    return Detector(
        detections=dense.detect(image, scores, found, score=0.02, iou=0.45, keep=200),
        losses={
            "loss_cls": ops.total(ops.where(positive | hard, classified, 0.0)) / count,
            "loss_bbox": ops.total(ops.total(offset, axes=(-1,)) * learns) / count,
        },
    )
