"""How much of its precision a detector keeps on corrupted images (Michaelis et al. 2019, arXiv:1907.07484)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphdet.data.dataset import Dataset, Sample
from graphdet.data.transforms import Corrupt
from graphdet.data.transforms.base import Transform
from graphdet.errors import BadInput, UnknownName, nearest
from graphdet.eval.run import Engine, evaluate
from graphdet.eval.score import CocoResult
from graphdet.records import Array, Detections, Truth
from graphdet.runtime.preprocess import load_image

GROUPS: Mapping[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "holdout": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
BENCHMARK = tuple(name for group in ("noise", "blur", "weather", "digital") for name in GROUPS[group])
NAMES = (*BENCHMARK, *GROUPS["holdout"])


@dataclass(frozen=True)
class Robustness:
    """Figures on clean images and by corruption and severity."""

    clean: CocoResult
    corrupted: Mapping[str, Mapping[int, CocoResult]]

    @property
    def complete(self) -> bool:
        """Whether nothing was interrupted."""
        return all(r.complete for r in (self.clean, *(r for by in self.corrupted.values() for r in by.values())))

    def figures(self, corruption: str, metric: str = "bbox") -> dict[str, float]:
        """Mean of each figure over the severities of a corruption."""
        return _mean([_of(result, metric) for result in self.corrupted[corruption].values()])

    def mean(self, metric: str = "bbox") -> dict[str, float]:
        """Mean performance under corruption, mPC (eq. 1): of each figure, over corruptions and severities."""
        return _mean([self.figures(name, metric) for name in self.corrupted])

    def relative(self, metric: str = "bbox") -> dict[str, float]:
        """Relative performance under corruption, rPC (eq. 2): mPC over the clean figure; -1 where that is 0 or less."""
        clean = _of(self.clean, metric)
        return {name: v / clean[name] if clean[name] > 0 and v >= 0 else -1.0 for name, v in self.mean(metric).items()}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        corrupted = {
            name: {str(severity): result.as_dict() for severity, result in by.items()}
            for name, by in self.corrupted.items()
        }
        means = {m: {"mPC": self.mean(m), "rPC": self.relative(m)} for m in ("bbox", *self.clean.also)}
        return {"clean": self.clean.as_dict(), "corrupted": corrupted, **means, "complete": self.complete}


def parse_corruptions(text: str) -> tuple[str, ...]:
    """Names and groups (`noise`, `blur`, `weather`, `digital`, `holdout`, `benchmark`, `all`), separated by commas.

    Raises UnknownName.
    """
    groups = {**GROUPS, "benchmark": BENCHMARK, "all": NAMES}
    found: list[str] = []
    for word in filter(None, (w.strip() for w in text.split(","))):
        if word not in groups and word not in NAMES:
            known = (*groups, *NAMES)
            raise UnknownName(f"corruption {word!r} is unknown", help=nearest(word, known) or ", ".join(known))
        found += groups.get(word, (word,))
    return tuple(dict.fromkeys(found))


def evaluate_corrupted(
    engine: Engine,
    dataset: Dataset,
    corruptions: Sequence[str] = BENCHMARK,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    *,
    seed: int = 0,
    corrupt: Callable[[str, int], Transform] = Corrupt,
    **options: Any,
) -> Robustness:
    """COCO figures of an engine on clean images and on images with each corruption at each severity.

    Args:
        engine: as in `evaluate`.
        dataset: as in `evaluate`.
        corruptions: names of `NAMES`.
        severities: 1 to 5.
        seed: of the corruptions' noise, which depends on it and on the image's position alone.
        corrupt: the change of a name and a severity; needs the package imagecorruptions by default.
        options: `batch`, `limit`, `progress`, `backend`, `metrics` of `evaluate`.

    Returns:
        The figures. After Ctrl-C, those of what was done; what was under way covers its first images alone.

    Raises:
        BadInput: a severity outside of 1 .. 5, or nothing to do. BackendMissing: imagecorruptions is not installed.
    """
    if not corruptions or not severities or not set(severities) <= set(range(1, 6)):
        raise BadInput(f"corruptions {list(corruptions)} at severities {list(severities)}; severities are 1 to 5")
    clean = evaluate(engine, dataset, **options)
    found: dict[str, dict[int, CocoResult]] = {}
    for name, severity in itertools.product(corruptions, severities if clean.complete else ()):
        spoilt = _Spoilt(engine, corrupt(name, severity), seed)
        result = evaluate(spoilt, dataset, **options)
        found.setdefault(name, {})[severity] = result
        if not result.complete:
            break
    return Robustness(clean, found)


class _Spoilt:
    """An engine that sees images changed; image by image, in the order in which they come."""

    def __init__(self, engine: Engine, change: Transform, seed: int) -> None:
        self.engine, self.change, self.seed, self.seen = engine, change, seed, itertools.count()
        self.proposals = getattr(engine, "proposals", 0)

    def __call__(self, images: list[Path | Array], /, **given: Any) -> Sequence[Detections]:
        """Detections in the changed images, which have their old sizes."""
        return self.engine([self._spoil(image) for image in images], **given)

    def _spoil(self, image: Path | Array) -> Array:
        pixels, nothing = load_image(image), np.zeros(0, np.int64)
        truth = Truth(np.zeros((0, 4), np.float32), nothing, nothing.astype(bool))
        sample = Sample(pixels, 0, (pixels.shape[0], pixels.shape[1]), truth)
        return self.change(sample, np.random.default_rng([self.seed, next(self.seen)])).pixels()


def _of(result: CocoResult, metric: str) -> dict[str, float]:
    return result.figures() if metric == "bbox" else result.also[metric]


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure; -1 where any row has none."""
    names = rows[0] if rows else ()
    return {n: float(np.mean([r[n] for r in rows])) if all(r[n] >= 0 for r in rows) else -1.0 for n in names}
