"""What a transform is, and how a list of them is applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from graphdet.data.dataset import Sample

Rng = np.random.Generator
Draw = Callable[[], Sample]


class Transform(Protocol):
    """A pure change of a sample; all chance comes from `rng`."""

    def __call__(self, sample: Sample, rng: Rng, /) -> Sample:
        """The changed sample; the given one stays as it is."""


@runtime_checkable
class Mixing(Protocol):
    """A change that brings in other images of the dataset."""

    def mix(self, sample: Sample, rng: Rng, draw: Draw, /) -> Sample:
        """The sample joined with others; every call of `draw` gives another random image, as loaded."""


Change: TypeAlias = Transform | Mixing


def apply(changes: Sequence[Change], sample: Sample, rng: Rng, draw: Draw) -> Sample:
    """The sample after all changes, in their order."""
    for change in changes:
        sample = change.mix(sample, rng, draw) if isinstance(change, Mixing) else change(sample, rng)
    return sample
