"""A misspelt attribute."""

from graphdet import ops
from graphdet.ir import Detector, detector, parameter, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    weight = parameter("weight", 64, 3, 3, 3)
    return ops.conv2d(image.pixels, weight, strid=2, padding=1)


trace(mine.variants["mine"])
