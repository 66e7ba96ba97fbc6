"""Random choice among changes, and changes by other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.data.transforms.base import Change, Draw, Rng, apply
from graphdet.errors import BackendMissing, BadRecipe
from graphdet.records import Truth


@dataclass(frozen=True)
class AutoAugment:
    """One of the lists of changes, drawn at random, in its order (Zoph et al. 2020, arXiv:1906.11172)."""

    policies: tuple[tuple[Change, ...], ...]

    def mix(self, sample: Sample, rng: Rng, draw: Draw) -> Sample:
        """The sample after the drawn list."""
        return apply(self.policies[int(rng.integers(len(self.policies)))], sample, rng, draw)


@dataclass(frozen=True)
class Albumentations:
    """Changes of the package `albumentations`, in their order.

    steps: `{"name": "RandomBrightnessContrast", "p": 0.3}`; `OneOf` and the like take a list `transforms` of such ·
    visible: objects of which less remains are left out. Masks move along as bitmaps.
    """

    steps: tuple[Mapping[str, Any], ...]
    visible: float = 0.0

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The sample, changed. Raises BackendMissing without the package, BadRecipe for a step it does not know."""
        try:
            import albumentations
        except ModuleNotFoundError:
            raise BackendMissing("Albumentations is not installed", help="pip install albumentations") from None
        from graphdet.data.transforms.move import bitmap

        truth = sample.truth
        limits = np.array([sample.size[1], sample.size[0]] * 2, np.float32)
        boxes = np.clip(truth.boxes, 0, limits)
        rule = albumentations.BboxParams(
            format="pascal_voc", label_fields=["index"], min_visibility=self.visible, filter_invalid_bboxes=True
        )
        steps = [_step(albumentations, s) for s in self.steps]
        pipeline = albumentations.Compose(steps, bbox_params=rule, seed=int(rng.integers(2**31)))
        masks = None if truth.masks is None else [bitmap(m, sample.size) for m in truth.masks]
        extra: dict[str, Any] = {"masks": masks} if masks else {}
        if sample.semantic is not None:
            extra["mask"] = sample.semantic
        rgb = np.ascontiguousarray(sample.pixels()[..., ::-1])
        found = pipeline(image=rgb, bboxes=boxes, index=np.arange(len(boxes)), **extra)
        image = np.ascontiguousarray(found["image"][..., ::-1])
        index = np.asarray(found["index"], np.int64).reshape(-1)
        moved = tuple(np.asarray(found["masks"][i], np.uint8) for i in index) if masks else truth.take(index).masks
        after = Truth(
            np.asarray(found["bboxes"], np.float32).reshape(-1, 4), truth.labels[index], truth.crowd[index], moved
        )
        size = int(image.shape[0]), int(image.shape[1])
        return replace(sample, image=image, size=size, truth=after, semantic=found.get("mask"))


@dataclass(frozen=True)
class Corrupt:
    """A corruption of the package `imagecorruptions` (Michaelis et al. 2019, arXiv:1907.07484), severity 1 to 5."""

    name: str = "gaussian_noise"
    severity: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The corrupted sample. Raises BackendMissing without the package, BadRecipe for a name it does not know."""
        try:
            from imagecorruptions import corrupt, get_corruption_names
        except ModuleNotFoundError:
            raise BackendMissing("imagecorruptions is not installed", help="pip install imagecorruptions") from None
        if self.name not in get_corruption_names("all"):
            raise BadRecipe(f"imagecorruptions knows no {self.name!r}", help=", ".join(get_corruption_names("all")))
        state = np.random.get_state()  # the package draws from the global generator
        np.random.seed(int(rng.integers(2**31)))
        try:
            image = corrupt(sample.pixels(), corruption_name=self.name, severity=self.severity, **self.options)
        finally:
            np.random.set_state(state)
        return replace(sample, image=np.asarray(image, np.uint8))


def _step(library: Any, step: Mapping[str, Any]) -> Any:
    fields = dict(step)
    name = fields.pop("name", None)
    kind = getattr(library, str(name), None)
    if not isinstance(kind, type):
        raise BadRecipe(f"Albumentations has no {name!r}", help="write {'name': 'HorizontalFlip', 'p': 0.5}")
    if "transforms" in fields:
        fields["transforms"] = [_step(library, s) for s in fields["transforms"]]
    return kind(**fields)
