"""Datasets: images with boxes, from files or drawn."""

from graphdet.data.coco import CocoDetection
from graphdet.data.dataset import Dataset, Sample, read_image
from graphdet.data.scenes import SCENE_CLASSES, Scenes, scene, write_coco
from graphdet.data.spec import parse_data

__all__ = [
    "SCENE_CLASSES",
    "CocoDetection",
    "Dataset",
    "Sample",
    "Scenes",
    "parse_data",
    "read_image",
    "scene",
    "write_coco",
]
