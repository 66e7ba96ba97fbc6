"""Pictures of what detectors see."""

from graphdet.draw.boxes import as_bgr, class_colour, draw_detections, draw_truth

__all__ = ["as_bgr", "class_colour", "draw_detections", "draw_truth"]
