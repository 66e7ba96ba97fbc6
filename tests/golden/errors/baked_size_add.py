"""A table made for one image size is added to features of any size."""

import numpy as np

from graphdet.blocks.conv import conv
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    features = conv("stem", image.pixels, 16, stride=8)
    position = np.zeros((1, 16, 52, 52), np.float32)
    return features + position


trace(mine.variants["mine"])
