"""Maps of different width are added."""

from graphdet.blocks.conv import conv
from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    narrow = conv("narrow", image.pixels, 128)
    wide = conv("wide", image.pixels, 256)
    return ops.relu(wide + narrow)


trace(mine.variants["mine"])
