"""A panoptic detector without weights, and pictures for it."""

from __future__ import annotations

import numpy as np

from graphdet import ops
from graphdet.ir import Detector, Found, Image, Segments, constant, detector, row, setting
from graphdet.records import Array, Preprocess


@detector({"flag": row(Preprocess(size=(32, 48), divisor=16), classes=("cat", "dog", "sky"))})
def flag(image: Image) -> Detector:
    """Three queries: the blue pixels are a cat, the green ones another, the red ones sky."""
    logits = ops.resize(image.pixels, height=image.pixels.dim(2), width=image.pixels.dim(3)) - 128.0
    n = image.batch
    classes = constant(np.eye(3, dtype=np.float32)[[0, 0, 2]][None])
    labels = ops.best_index(ops.reshape(ops.total(image.pixels, axes=(2, 3)), shape=(n, 3, 1)) * classes)
    scores = ops.as_scores(0.9 + 0.0 * ops.cast(labels, to="f32"))
    boxes = ops.as_boxes(ops.expand(0.0, shape=(n, 3, 4)), format="xyxy", frame="net")
    kept = ops.nms(boxes, scores, labels, setting("score_threshold", 0.95), 0.5)
    found = Found(ops.to_image(kept[0], image.geometry), *kept[1:])
    return Detector(found, {}, segments=Segments(scores, labels, ops.cast(labels < 2, to="i64"), logits))


FLAG = flag.variants["flag"]


def picture(height: int, width: int) -> Array:
    """Three upright stripes: blue, green, and red above black."""
    made = np.zeros((height, width, 3), np.uint8)
    made[:, : width // 3, 0], made[:, width // 3 : 2 * width // 3, 1] = 255, 255
    made[: height // 2, 2 * width // 3 :, 2] = 255
    return made
