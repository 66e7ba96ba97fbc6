"""Recipes that ship with graphdet, by name; every field can be changed on the command line with --set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphdet.data.transforms import (
    Expand,
    Flip,
    Jitter,
    MinIoUCrop,
    Mosaic,
    Photometric,
    RandomAffine,
    Rescale,
    YoloxColour,
)
from graphdet.errors import UnknownName, nearest
from graphdet.train.recipe import Exponential, Optimiser, Rule
from graphdet.train.schedule import Step, Warmup, Yolox

Fields = Mapping[str, Any]


def _yolox(size: int, scale: tuple[float, float]) -> tuple[Any, ...]:
    return (
        Mosaic((size, size)),
        RandomAffine(10.0, 0.1, scale, 2.0, border=(-size // 2, -size // 2)),
        YoloxColour(),
        Flip(),
    )


_SCENES: Fields = {
    "steps": 2400,
    "optimiser": Optimiser("AdamW", 2e-3, 0.02, {}, norm_decay=0.0, bias_decay=0.0),
    "warmup": Warmup(200, ratio=0.005),
    "schedule": Yolox(0.02, 0.0),
    "clip": 10.0,
    "average": Exponential(0.002, 100.0),
    "transforms": (Rescale(0.25), Flip(0.25, 0.25, 0.25), Jitter(0.5)),
    "late_from": 0.8,
}

# Ge et al. 2021 (arXiv:2107.08430, sec. 2.1) for the small models, as the reference trains them: 300 epochs.
_YOLOX: Fields = {
    "epochs": 300.0,
    "batch": 64,
    "optimiser": Optimiser("SGD", 0.01, 5e-4, {"momentum": 0.9, "nesterov": True}, norm_decay=0.0, bias_decay=0.0),
    "base_batch": 64,
    "warmup": Warmup(epochs=5.0, curve="square"),
    "schedule": Yolox(0.05, 0.05),
    "average": Exponential(0.0001, 2000.0),
    "transforms": _yolox(416, (0.5, 1.5)),
    "late_transforms": (YoloxColour(), Flip()),
    "late_from": 0.95,
    "sizes": tuple((s, s) for s in range(320, 641, 32)),
}

# A few dozen epochs from weights of another dataset, for some hundreds of images.
_FINETUNE: Fields = {
    "epochs": 24.0,
    "batch": 8,
    "optimiser": Optimiser("AdamW", 1e-3, 0.02, {}, norm_decay=0.0, bias_decay=0.0),
    "warmup": Warmup(100, ratio=0.01),
    "schedule": Yolox(0.02, 0.1),
    "clip": 10.0,
    "average": Exponential(0.002, 200.0),
    "transforms": _yolox(416, (0.6, 1.4)),
    "late_transforms": (YoloxColour(), Flip(0.25, 0.25, 0.25)),
    "late_from": 0.6,
    "sizes": (),
}

# Girshick et al. (Detectron), as the reference trains detectors with a ResNet: 12 epochs of 16 images. The detectors
# themselves keep the first stage and the norms' statistics fixed.
_RESNET: Fields = {
    "epochs": 12.0,
    "batch": 16,
    "base_batch": 16,
    "optimiser": Optimiser("SGD", 0.02, 1e-4, {"momentum": 0.9}),
    "warmup": Warmup(500, ratio=0.001),
    "schedule": Step((8.0, 11.0)),
    "transforms": (Flip(),),
}

# Liu et al. 2016 (arXiv:1512.02325, sec. 3): 24 epochs with strong crops.
_SSD: Fields = {
    **_RESNET,
    "epochs": 24.0,
    "batch": 64,
    "base_batch": 64,
    "optimiser": Optimiser("SGD", 0.002, 5e-4, {"momentum": 0.9}),
    "schedule": Step((16.0, 22.0)),
    "transforms": (Photometric(), Expand(), MinIoUCrop(), Flip()),
}

# Carion et al. 2020 (arXiv:2005.12872, sec. 4): AdamW, a tenth of the rate for the backbone.
_DETR: Fields = {
    **_RESNET,
    "epochs": 150.0,
    "optimiser": Optimiser("AdamW", 1e-4, 1e-4, {}, rules=(Rule(r"^backbone\.", lr=0.1),)),
    "warmup": Warmup(),
    "schedule": Step((100.0,)),
    "clip": 0.1,
}

RECIPES: Mapping[str, Fields] = {
    "scenes": _SCENES,
    "yolox": _YOLOX,
    "yolox_finetune": _FINETUNE,
    "resnet_1x": _RESNET,
    "ssd": _SSD,
    "detr": _DETR,
}


def fields_of(name: str) -> dict[str, Any]:
    """The fields of a shipped recipe. Raises UnknownName."""
    if name not in RECIPES:
        raise UnknownName(f"there is no recipe {name!r}", help=nearest(name, RECIPES) or ", ".join(RECIPES))
    return dict(RECIPES[name])
