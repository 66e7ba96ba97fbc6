"""The ground truth reaches the detections."""

from graphdet import ops
from graphdet.blocks.conv import conv
from graphdet.blocks.rows import rows
from graphdet.ir import Detector, Found, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess())})
def mine(image):
    points = ops.point_grid(image.pixels, stride=1)
    boxes = ops.decode_points(points, rows([conv("box", image.pixels, 4)], 4))
    logits = rows([conv("cls", image.pixels, 80)], 80)
    objectness = ops.best(logits)
    truth = image.truth
    _, target, overlap = ops.match_simota(points, boxes, logits, objectness, truth.boxes, truth.labels, truth.count)
    near = ops.reshape(overlap, shape=(*overlap.shape, 1)) > 0.5
    better = ops.where(near, target, boxes)
    scores = ops.sigmoid(logits)
    found = ops.nms(better, ops.best(scores), ops.best_index(scores), 0.05, 0.5)
    return Detector(Found(*found), {})


trace(mine.variants["mine"])
