"""Changes of samples for training: pure functions `(sample, rng) -> sample` that move objects with the pixels."""

from __future__ import annotations

from graphdet.data.transforms.affine import RandomAffine, Rotate, Shear, Translate
from graphdet.data.transforms.base import Change, Mixing, Rng, Transform, apply
from graphdet.data.transforms.colour import (
    Brightness,
    Colour,
    Contrast,
    CutOut,
    Equalize,
    Jitter,
    Photometric,
    YoloxColour,
)
from graphdet.data.transforms.geometry import (
    CentreCrop,
    Crop,
    Expand,
    FilterObjects,
    Flip,
    LargeScaleJitter,
    MinIoUCrop,
    Pad,
    Rescale,
    Resize,
    Shift,
)
from graphdet.data.transforms.mix import CopyPaste, MixUp, Mosaic
from graphdet.data.transforms.policy import Albumentations, AutoAugment, Corrupt

ALL: tuple[type, ...] = (
    *(Resize, Flip, Pad, Crop, MinIoUCrop, CentreCrop, Expand, Shift, Rescale, LargeScaleJitter, FilterObjects),
    *(Rotate, Shear, Translate, RandomAffine),
    *(Jitter, YoloxColour, Photometric, Brightness, Contrast, Colour, Equalize, CutOut),
    *(Mosaic, MixUp, CopyPaste, AutoAugment, Albumentations, Corrupt),
)

__all__ = [
    "ALL",
    "Albumentations",
    "AutoAugment",
    "Brightness",
    "CentreCrop",
    "Change",
    "Colour",
    "Contrast",
    "CopyPaste",
    "Corrupt",
    "Crop",
    "CutOut",
    "Equalize",
    "Expand",
    "FilterObjects",
    "Flip",
    "Jitter",
    "LargeScaleJitter",
    "MinIoUCrop",
    "MixUp",
    "Mixing",
    "Mosaic",
    "Pad",
    "Photometric",
    "RandomAffine",
    "Rescale",
    "Resize",
    "Rng",
    "Rotate",
    "Shear",
    "Shift",
    "Transform",
    "Translate",
    "YoloxColour",
    "apply",
]
