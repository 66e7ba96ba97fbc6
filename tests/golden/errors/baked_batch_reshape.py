"""A batch size is written where a symbol belongs."""

from graphdet.blocks.conv import conv
from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    deltas = conv("box", image.pixels, 36, stride=8)
    rows = ops.transpose(deltas, order=(0, 2, 3, 1))
    return ops.reshape(rows, shape=(8, -1, 4))


trace(mine.variants["mine"])
