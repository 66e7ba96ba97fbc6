"""Two levels use one head, but nobody said that they share it."""

from graphdet.blocks.conv import conv
from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    fine = conv("stem", image.pixels, 16)
    coarse = ops.max_pool(fine, size=2, stride=2)
    small = conv("head", fine, 80)
    large = conv("head", coarse, 80)
    return small, large


trace(mine.variants["mine"])
