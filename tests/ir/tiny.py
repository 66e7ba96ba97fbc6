"""A small detector that every test of the graph can trace in a millisecond."""

from __future__ import annotations

from graphdet import ops
from graphdet.blocks.conv import conv, conv_module
from graphdet.blocks.rows import rows
from graphdet.ir import Detector, Found, Graph, Image, detector, row, setting, tap, trace
from graphdet.records import Preprocess


@detector({"tiny": row(Preprocess(divisor=8)), "tiny_wide": row(Preprocess(divisor=8), width=8)})
def tiny(image: Image, *, width: int = 4, classes: int = 3) -> Detector:
    """One level of stride 8."""
    features = tap("stem", conv_module("stem", image.pixels, width, stride=8))
    logits = rows([conv("cls", features, classes)], classes)
    raw = rows([conv("box", features, 4, size=1)], 4)
    points = ops.point_grid(features, stride=features.stride)
    boxes = ops.decode_points(points, raw)
    scores = ops.sigmoid(logits)
    found = ops.nms(
        boxes, ops.best(scores), ops.best_index(scores), setting("score_threshold", 0.1), setting("iou_threshold", 0.5)
    )
    truth = image.truth
    label, _, overlap = ops.match_simota(
        points, boxes, logits, ops.best(logits), truth.boxes, truth.labels, truth.count
    )
    wanted = ops.one_hot(label, classes=classes)
    return Detector(
        Found(ops.to_image(found[0], image.geometry), *found[1:]),
        losses={"cls": [ops.total(ops.bce(logits, wanted))]},
        late_losses={"overlap": ops.total(overlap)},
    )


def graph(phase: str = "infer", name: str = "tiny") -> Graph:
    """The traced detector."""
    return trace(tiny.variants[name], phase)
