"""Datasets: images with boxes, from files or drawn."""

from graphdet.data.coco import CocoDetection
from graphdet.data.dataset import Dataset, Sample, read_image
from graphdet.data.panoptic import CocoPanoptic, PanopticFile, write_panoptic
from graphdet.data.proposals import Proposals, Proposed
from graphdet.data.scenes import SCENE_CLASSES, Scenes, scene, write_coco
from graphdet.data.spec import parse_data
from graphdet.data.voc import Voc
from graphdet.data.wrap import Concat, Only, Repeat
from graphdet.data.yolo import ImageFolder, Yolo

__all__ = [
    "SCENE_CLASSES",
    "CocoDetection",
    "CocoPanoptic",
    "Concat",
    "Dataset",
    "ImageFolder",
    "Only",
    "PanopticFile",
    "Proposals",
    "Proposed",
    "Repeat",
    "Sample",
    "Scenes",
    "Voc",
    "Yolo",
    "parse_data",
    "read_image",
    "scene",
    "write_coco",
    "write_panoptic",
]
