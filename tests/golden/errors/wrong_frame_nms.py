"""Boxes are moved to the original image before suppression."""

from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows
from graphdet import ops
from graphdet.ir import Detector, Found, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    points = ops.point_grid(image.pixels, stride=1)
    raw = rows([conv("box", image.pixels, 4)], 4)
    scores = ops.sigmoid(rows([conv("cls", image.pixels, 80)], 80))

    boxes = ops.to_image(ops.decode_points(points, raw), image.geometry)
    found = ops.nms(boxes, ops.best(scores), ops.best_index(scores), 0.05, 0.5)
    return Detector(Found(*found), {})


trace(mine.variants["mine"])
