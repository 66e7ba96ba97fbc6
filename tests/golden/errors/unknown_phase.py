"""A phase that does not exist."""

from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    return Detector(image.pixels, {})


trace(mine.variants["mine"], "test")
