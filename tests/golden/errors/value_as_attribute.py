"""A value is given where a number is wanted."""

from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    grown = ops.upsample(image.pixels, scale=image.size)
    return Detector(grown, {})


trace(mine.variants["mine"])
