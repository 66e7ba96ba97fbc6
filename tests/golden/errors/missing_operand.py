"""An operand is left out."""

from graphdet import ops
from graphdet.ir import Detector, detector, parameter, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    weight = parameter("weight", 3)
    return ops.batch_norm(image.pixels, weight)


trace(mine.variants["mine"])
