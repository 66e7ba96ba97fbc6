"""Datasets made of datasets: joined, repeated, or with some of the classes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from graphdet.data.dataset import Dataset, Sample
from graphdet.errors import BadDataset, nearest
from graphdet.records import Array


@dataclass(frozen=True)
class Concat:
    """One dataset after the other, images numbered anew from 1. Raises BadDataset where classes differ.

    separate: an evaluation gives the figures of each part too, beside those of all as one.
    """

    parts: tuple[Dataset, ...]
    separate: bool = False

    def __post_init__(self) -> None:
        for part in self.parts[1:]:
            if part.classes != self.classes:
                raise BadDataset(
                    f"datasets of different classes cannot be joined: {_some(self.classes)} and {_some(part.classes)}",
                    help="take the same ones of each: append '#a,b,c'",
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of all parts."""
        return self.parts[0].classes

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def sample(self, index: int) -> Sample:
        """The image at a position."""
        part, own = self.place(index)
        return replace(self.parts[part].sample(own), id=index + 1)

    def place(self, index: int) -> tuple[int, int]:
        """The part that holds the image at a position, and its position there."""
        ends = list(accumulate(map(len, self.parts)))
        part = bisect_right(ends, index)
        return part, index - (ends[part - 1] if part else 0)


@dataclass(frozen=True)
class Repeat:
    """A dataset several times over, so that an epoch is longer; images are numbered anew from 1."""

    dataset: Dataset
    times: int

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the dataset."""
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset) * self.times

    def sample(self, index: int) -> Sample:
        """The image at a position."""
        return replace(self.dataset.sample(index % len(self.dataset)), id=index + 1)


@dataclass(frozen=True)
class Only:
    """Some classes of a dataset, in a new order; objects of others are left out, their images stay."""

    dataset: Dataset
    classes: tuple[str, ...]
    labels: Array  # i64: label in the dataset -> label here, or -1

    @classmethod
    def of(cls, dataset: Dataset, classes: tuple[str, ...]) -> Only:
        """Take classes by name. Raises BadDataset for a name that the dataset does not have, or one twice."""
        for name in classes:
            if name not in dataset.classes:
                raise BadDataset(
                    f"the dataset has no class {name!r}", help=nearest(name, dataset.classes) or _some(dataset.classes)
                )
        if len(set(classes)) < len(classes):
            raise BadDataset("a class is named twice")
        place = {name: label for label, name in enumerate(classes)}
        return cls(dataset, classes, np.array([place.get(name, -1) for name in dataset.classes], np.int64))

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int) -> Sample:
        """The image at a position."""
        sample = self.dataset.sample(index)
        truth = replace(sample.truth, labels=self.labels[sample.truth.labels])
        return replace(sample, truth=truth.take(truth.labels >= 0))


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
