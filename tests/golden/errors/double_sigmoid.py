"""Scores are squashed twice."""

from graphdet.blocks.conv import conv
from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    logits = conv("cls", image.pixels, 80)
    scores = ops.sigmoid(logits)
    objectness = ops.sigmoid(conv("obj", image.pixels, 1))
    return Detector(ops.sigmoid(scores) * objectness, {})


trace(mine.variants["mine"])
