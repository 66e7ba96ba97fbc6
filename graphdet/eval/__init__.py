"""How good detections are, by the measures of the literature."""

from graphdet.eval.coco import CocoEvaluator, evaluate_results
from graphdet.eval.run import Engine, evaluate
from graphdet.eval.score import CocoResult

__all__ = ["CocoEvaluator", "CocoResult", "Engine", "evaluate", "evaluate_results"]
