"""Logits go where scores are wanted."""

from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows
from graphdet import ops
from graphdet.ir import Detector, Found, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    points = ops.point_grid(image.pixels, stride=1)
    boxes = ops.decode_points(points, rows([conv("box", image.pixels, 4)], 4))
    logits = rows([conv("cls", image.pixels, 80)], 80)
    found = ops.nms(boxes, ops.best(logits), ops.best_index(logits), 0.05, iou_threshold=0.5)
    return Detector(Found(*found), {})


trace(mine.variants["mine"])
