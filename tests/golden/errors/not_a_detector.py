"""The function returns its detections bare."""

from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    return ops.relu(image.pixels)


trace(mine.variants["mine"])
