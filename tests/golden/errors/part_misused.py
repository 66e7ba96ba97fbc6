"""A shared part gets features that it cannot join; the part's line and the caller's line are shown."""

from graphdet.blocks.conv import conv
from graphdet.zoo.necks.fpn import fpn
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    fine = conv("fine", image.pixels, 64, stride=8)
    coarse = conv("coarse", image.pixels, 64, stride=32)
    return fpn([fine, coarse], 256)


trace(mine.variants["mine"])
