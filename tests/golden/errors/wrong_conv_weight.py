"""A weight for another number of input channels."""

from graphdet import ops
from graphdet.ir import Detector, detector, parameter, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    features = ops.max_pool(image.pixels, size=2, stride=2)
    weight = parameter("weight", 64, 32, 3, 3)
    return ops.conv2d(
        features,
        weight,
        stride=2,
    )


trace(mine.variants["mine"])
