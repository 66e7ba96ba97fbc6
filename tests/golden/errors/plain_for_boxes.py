"""Raw predictions go where boxes are wanted."""

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

    found = ops.nms(raw, ops.best(scores), ops.best_index(scores), 0.05, 0.5)
    return Detector(Found(*found), {})


trace(mine.variants["mine"])
