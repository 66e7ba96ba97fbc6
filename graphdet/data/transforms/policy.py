"""Random choice among changes, and changes by other libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from graphdet.data.dataset import Sample
from graphdet.data.transforms.base import Change, Draw, Rng, apply
from graphdet.errors import BackendMissing, BadRecipe
from graphdet.records import Array, Truth


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

        truth, proposals = sample.truth, sample.proposals
        limits = np.array([sample.size[1], sample.size[0]] * 2, np.float32)
        boxes = np.clip(truth.boxes if proposals is None else np.concatenate([truth.boxes, proposals]), 0, limits)
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
        boxes, real = np.asarray(found["bboxes"], np.float32).reshape(-1, 4), index < len(truth)
        index, proposals = index[real], None if proposals is None else boxes[~real]
        moved = tuple(np.asarray(found["masks"][i], np.uint8) for i in index) if masks else truth.take(index).masks
        after = Truth(boxes[real], truth.labels[index], truth.crowd[index], moved)
        size, semantic = (int(image.shape[0]), int(image.shape[1])), found.get("mask")
        return replace(sample, image=image, size=size, truth=after, semantic=semantic, proposals=proposals)


@dataclass(frozen=True)
class Corrupt:
    """A corruption of the package `imagecorruptions` (Michaelis et al. 2019, arXiv:1907.07484), severity 1 to 5."""

    name: str = "gaussian_noise"
    severity: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, sample: Sample, rng: Rng) -> Sample:
        """The corrupted sample. Raises BackendMissing without the package, BadRecipe for a name it does not know."""
        library = _corruptions()
        if self.name not in library.get_corruption_names("all"):
            known = ", ".join(library.get_corruption_names("all"))
            raise BadRecipe(f"imagecorruptions knows no {self.name!r}", help=known)
        state = np.random.get_state()  # the package draws from the global generator
        np.random.seed(int(rng.integers(2**31)))
        try:
            image = library.corrupt(sample.pixels(), corruption_name=self.name, severity=self.severity, **self.options)
        finally:
            np.random.set_state(state)
        return replace(sample, image=np.asarray(image, np.uint8))


@cache
def _corruptions() -> Any:
    """The package imagecorruptions. Raises BackendMissing.

    Its version 1.1.2, of 2021, is the last. What NumPy and scikit-image have dropped since is put into its own module,
    where impulse noise is made to follow the global generator too.
    """
    try:
        import imagecorruptions
        from imagecorruptions import corruptions
        from skimage import color, filters, util
    except ModuleNotFoundError as missing:
        own = missing.name == "imagecorruptions"
        raise BackendMissing(
            "imagecorruptions is not installed" if own else f"imagecorruptions cannot be imported: {missing}",
            help="pip install imagecorruptions 'setuptools<81'",  # later ones have no pkg_resources, which it needs
        ) from None

    def gaussian(image: Array, *sigma: float, multichannel: bool = False, **options: Any) -> Any:
        return filters.gaussian(image, *sigma, channel_axis=-1 if multichannel else None, **options)

    def random_noise(image: Array, **options: Any) -> Any:
        return util.random_noise(image, rng=np.random.randint(2**31), **options)

    corruptions.np = SimpleNamespace(**{**vars(np), "float_": np.float64})
    corruptions.gaussian = gaussian
    corruptions.sk = SimpleNamespace(color=color, util=SimpleNamespace(random_noise=random_noise))
    return imagecorruptions


def _step(library: Any, step: Mapping[str, Any]) -> Any:
    fields = dict(step)
    name = fields.pop("name", None)
    kind = getattr(library, str(name), None)
    if not isinstance(kind, type):
        raise BadRecipe(f"Albumentations has no {name!r}", help="write {'name': 'HorizontalFlip', 'p': 0.5}")
    if "transforms" in fields:
        fields["transforms"] = [_step(library, s) for s in fields["transforms"]]
    return kind(**fields)
