"""Boxes of two frames are joined."""

from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows
from graphdet import ops
from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    points = ops.point_grid(image.pixels, stride=1)
    net = ops.decode_points(points, rows([conv("box", image.pixels, 4)], 4))
    original = ops.to_image(net, image.geometry)
    return ops.concat(net, original, axis=1)


trace(mine.variants["mine"])
