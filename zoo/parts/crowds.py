"""Regions of objects that are not told apart: a prior that lies in one is no background."""

from __future__ import annotations

from graphdet import ops
from graphdet.ir import Image, Value


def apart(image: Image, boxes: Value, real: Value, most: float) -> Value:
    """Which of the `real` boxes learn, b[N A]: those of which a share of `most` at the most lies in a crowd region.

    boxes: [N A 4], or [A 4] of every image · most: at 1 all learn, and no regions need be known.
    """
    if most >= 1.0:
        return real
    regions, count = image.truth.crowds
    n, a = real.shape
    each = boxes if len(boxes.shape) == 3 else ops.expand(ops.reshape(boxes, shape=(1, a, 4)), shape=(n, a, 4))
    return real & ~(ops.largest_overlap(each, regions, count, of="box") > most)
