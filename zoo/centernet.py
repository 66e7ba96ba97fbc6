"""CenterNet: objects are peaks of heatmaps, with a size and an offset each (Zhou et al. 2019, arXiv:1904.07850)."""

from __future__ import annotations

from collections.abc import Callable

from graphdet import ops
from graphdet.blocks.conv import batch_norm, conv, conv_transpose
from graphdet.blocks.deform import deform_conv
from graphdet.blocks.rows import to_cells
from graphdet.ir import Detector, Image, Value, detector, row, scope, setting, tap, within
from graphdet.records import Preprocess
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO
from graphdet.zoo.parts import dense

RGB = Preprocess("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (512, 512))
R18 = ResNet(18, frozen=-1, stored=False)


def plain(name: str, x: Value, out: int) -> Value:
    """A 3x3 convolution."""
    return conv(name, x, out, bias=False)


def deformable(name: str, x: Value, out: int) -> Value:
    """A modulated deformable 3x3 convolution (appendix A)."""
    return deform_conv(name, x, out, bias=False)


VARIANTS = {  # box AP on COCO val2017 as the reference reports it, there on images of their own size
    "centernet_r18": row(RGB, ap=25.9, classes=COCO, upstream="centernet/centernet_resnet18_140e_coco.py", body=R18),
    "centernet_r18_dcnv2": row(
        RGB,
        ap=29.5,
        classes=COCO,
        upstream="centernet/centernet_resnet18_dcnv2_140e_coco.py",
        body=R18,
        mix=deformable,
    ),
}


@detector(VARIANTS)
def centernet(
    image: Image,
    *,
    body: Callable[[Value], list[Value]],
    num_classes: int = 80,
    mix: Callable[[str, Value, int], Value] = plain,
) -> Detector:
    """Predict class heatmaps, sizes and offsets at stride 4.

    mix: the convolution before each enlargement.
    """
    features = within("backbone", body, image.pixels)  # c2 .. c5
    level = within("neck", lambda: [enlarge(features[-1], mix)])[0]
    with scope("bbox_head"):
        logits = head("heatmap_head", level, num_classes, bias=dense.PRIOR)
        sizes, offsets = head("wh_head", level, 2), head("offset_head", level, 2)
        heat = ops.sigmoid(logits)
        tap("bbox_head", ([heat], [sizes], [offsets]))

    higher = ops.max_pool(logits, size=3, padding=1) > logits  # only peaks stay                                sec. 3.1
    peaks = to_cells(ops.where(higher, 0.0, heat), num_classes)
    top, label, index = ops.select_top(peaks, setting("score_threshold", 0.0), k=100)
    points = ops.point_grid(level, stride=level.stride)
    stride, half = float(level.stride), to_cells(sizes, 2) * (level.stride / 2)
    moved = to_cells(offsets, 2) * stride
    boxes = ops.decode_distances(points, ops.concat(half - moved, half + moved, axis=-1))

    truth = image.truth
    target, wanted, centre = ops.draw_centres(
        level, truth.boxes, truth.labels, truth.count, classes=num_classes, stride=level.stride
    )
    count = ops.total(ops.cast(target > 0.99999, to="f32"))  # the cells beside a peak stay below
    count = ops.maximum(ops.mean_over_processes(count), 1.0)
    weight = ops.reshape(ops.cast(centre, to="f32"), shape=(level.dim(0), 1, level.dim(2), level.dim(3)))
    size_error, offset_error = ops.absolute(sizes - wanted[:, :2]), ops.absolute(offsets - wanted[:, 2:])
    return Detector(
        detections=dense.chosen(image, ops.gather_rows(boxes, index), top, label),
        losses={
            "loss_center_heatmap": ops.total(ops.peak_focal_loss(logits, target)) / count,
            "loss_wh": ops.total(size_error * weight) / count * 0.05,
            "loss_offset": ops.total(offset_error * weight) / count * 0.5,
        },
    )


def enlarge(x: Value, mix: Callable[[str, Value, int], Value]) -> Value:
    """From stride 32 to 4: three times a convolution and a transposed one that doubles the size (fig. 6 b, c)."""
    with scope("deconv_layers"):
        for i, out in enumerate((256, 128, 64)):
            with scope(2 * i):
                x = ops.relu(batch_norm("bn", mix("conv", x, out)))
            with scope(2 * i + 1):
                x = conv_transpose("conv", x, out, size=4, stride=2, padding=1, bias=False)
                x = ops.relu(batch_norm("bn", x))
    return x


def head(name: str, level: Value, outputs: int, *, bias: float = 0.0) -> Value:
    """A 3x3 and a 1x1 convolution."""
    with scope(name):
        return conv("2", ops.relu(conv("0", level, 64)), outputs, size=1, deviation=0.001, bias_value=bias)
