"""A list of levels goes where one level is wanted."""

from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    levels = [image.pixels, ops.max_pool(image.pixels, size=2, stride=2)]
    return ops.relu(levels)


trace(mine.variants["mine"])
