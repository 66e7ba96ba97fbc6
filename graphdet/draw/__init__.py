"""Pictures of what detectors see."""

from graphdet.draw.boxes import as_bgr, class_colour, draw_detections, draw_truth
from graphdet.draw.panoptic import draw_panoptic

__all__ = ["as_bgr", "class_colour", "draw_detections", "draw_panoptic", "draw_truth"]
