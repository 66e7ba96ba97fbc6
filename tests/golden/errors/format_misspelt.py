"""A format that does not exist."""

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    raw = rows([conv("box", image.pixels, 4)], 4)
    return ops.as_boxes(raw, frame="net", format="xywh")


trace(mine.variants["mine"])
