"""Rows that detectors of one paper share: the same detector on each of the reference's COCO bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphdet.ir.detector import Row, row
from graphdet.records import Preprocess
from graphdet.zoo.backbones.resnet import ResNet
from graphdet.zoo.classes import COCO

RGB = Preprocess("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), (800, 1333), "short_side")
BGR = Preprocess("bgr", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0), (800, 1333), "short_side")
CAFFE2 = Preprocess("bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), (800, 1333), "short_side")

BODIES = {
    "r18": (RGB, ResNet(18)),
    "r50": (RGB, ResNet(50)),
    "r50_caffe": (BGR, ResNet(50, caffe=True)),
    "r101": (RGB, ResNet(101)),
    "r101_caffe": (BGR, ResNet(101, caffe=True)),
    "x101_32x4d": (RGB, ResNet(101, groups=32, group_width=4)),
    "x101_32x8d": (CAFFE2, ResNet(101, groups=32, group_width=8, fixed_norm=True)),
    "x101_64x4d": (RGB, ResNet(101, groups=64, group_width=4)),
}


def rows(
    name: str,
    upstream: str,
    ap: Mapping[str, float | None],
    *,
    classes: tuple[str, ...] = COCO,
    preprocess: Preprocess | None = None,
    **arguments: Any,
) -> dict[str, Row]:
    """A row for each body of `ap` (box AP, None where the reference gives none); `{}` in the names is the body's.

    preprocess: where it is not the body's own.
    """
    return {
        name.format(key): row(
            preprocess or BODIES[key][0],
            ap=figure,
            upstream=upstream.format(key),
            classes=classes,
            body=BODIES[key][1],
            **arguments,
        )
        for key, figure in ap.items()
    }
