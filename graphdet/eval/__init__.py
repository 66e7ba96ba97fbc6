"""How good detections are, by the measures of the literature."""

from graphdet.eval.breakdown import Breakdown, break_down
from graphdet.eval.coco import CocoEvaluator, evaluate_results
from graphdet.eval.confusion import confusion_matrix
from graphdet.eval.panoptic import PanopticEvaluator, PanopticResult, evaluate_panoptic
from graphdet.eval.predict import Job, Predicted, predict
from graphdet.eval.robust import Robustness, evaluate_corrupted
from graphdet.eval.run import Engine, evaluate
from graphdet.eval.score import CocoResult
from graphdet.eval.voc import VocResult, average_precision, evaluate_voc

__all__ = [
    "Breakdown",
    "CocoEvaluator",
    "CocoResult",
    "Engine",
    "Job",
    "PanopticEvaluator",
    "PanopticResult",
    "Predicted",
    "Robustness",
    "VocResult",
    "average_precision",
    "break_down",
    "confusion_matrix",
    "evaluate",
    "evaluate_corrupted",
    "evaluate_panoptic",
    "evaluate_results",
    "evaluate_voc",
    "predict",
]
