"""Losses of boxes by how they overlap, one number a box."""

from __future__ import annotations

from graphdet import ops
from graphdet.ir import Value


def log_iou(boxes: Value, target: Value) -> Value:
    """-log IoU (Yu et al. 2016, UnitBox)."""
    return 0.0 - ops.log(ops.maximum(ops.iou(boxes, target), 1e-6))


def giou_loss(boxes: Value, target: Value) -> Value:
    """1 - generalised IoU (Rezatofighi et al. 2019, arXiv:1902.09630)."""
    return 1.0 - ops.iou(boxes, target, generalised=True)


def diou_loss(boxes: Value, target: Value) -> Value:
    """1 - distance IoU: IoU less the share of the centres' distance (Zheng et al. 2020, arXiv:1911.08287)."""
    return 1.0 - ops.distance_iou(boxes, target)


def ciou_loss(boxes: Value, target: Value) -> Value:
    """1 - complete IoU: distance IoU, less the difference in shape of boxes that fit (Zheng et al. 2020, eq. 10-12)."""
    share, gap = ops.iou(boxes, target), ops.aspect_gap(boxes, target)
    weight = ops.stop_gradient(ops.where(share > 0.5, gap / ops.maximum(1.0 - share + gap, 1e-9), 0.0))
    return diou_loss(boxes, target) + weight * gap


def bounded_iou(boxes: Value, target: Value, *, beta: float = 0.2, eps: float = 1e-3) -> Value:
    """Smooth L1 of 1 - the IoU that a change of one coordinate alone leaves, summed over centre and size.

    Tychsen-Smith and Petersson 2018 (arXiv:1711.00164), eq. 3 to 5.
    """
    side, wanted = boxes[..., 2:] - boxes[..., :2], target[..., 2:] - target[..., :2]
    apart = ops.absolute(boxes[..., :2] + boxes[..., 2:] - target[..., :2] - target[..., 2:])  # twice the distance
    moved = 1.0 - ops.maximum((wanted - apart) / (wanted + apart + eps), 0.0)
    grown = 1.0 - ops.minimum(wanted / (side + eps), side / (wanted + eps))
    return ops.total(ops.smooth_l1(moved, beta=beta) + ops.smooth_l1(grown, beta=beta), axes=(-1,))
