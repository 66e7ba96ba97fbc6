"""In which order a training run sees the images: endless, and a function of (seed, position) alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from graphdet.data.dataset import Dataset
from graphdet.errors import BadDataset
from graphdet.records import Array

Epoch = Callable[[int], Array]  # number of an epoch -> positions in the dataset


@dataclass(frozen=True)
class Shuffled:
    """Every image once an epoch, in a new order."""

    def epochs(self, dataset: Dataset, seed: int) -> tuple[int, Epoch]:
        """(images an epoch, the order of each)."""
        return len(dataset), lambda epoch: np.random.default_rng([seed, 0, epoch]).permutation(len(dataset))


@dataclass(frozen=True)
class Balanced:
    """Images of rare classes several times an epoch (Gupta et al. 2019, arXiv:1908.03195, sec. 6).

    A class in a share f of the images has the factor max(1, sqrt(threshold / f)); an image has that of its rarest
    class, and comes so often on average: the part behind the point is drawn anew every epoch. Images without objects
    come once.
    """

    threshold: float = 0.001

    def epochs(self, dataset: Dataset, seed: int) -> tuple[int, Epoch]:
        """(images an epoch, the order of each)."""
        factors = repeat_factors(dataset, self.threshold)
        length = round(float(factors.sum()))

        def order(epoch: int) -> Array:
            rng = np.random.default_rng([seed, 0, epoch])
            whole, part = np.divmod(factors, 1)
            # Systematic sampling: each image comes floor or ceil of its factor times, all together `length` times.
            marks = np.floor(np.cumsum(part) + rng.random())
            times = (whole + np.diff(marks, prepend=0.0)).astype(np.int64)
            drawn = rng.permutation(np.repeat(np.arange(len(factors)), times))
            return np.resize(drawn, length)

        return length, order


@dataclass(frozen=True)
class ClassAware:
    """Classes take turns in a random order, each time with `images` random images that show the class."""

    images: int = 1

    def epochs(self, dataset: Dataset, seed: int) -> tuple[int, Epoch]:
        """(images an epoch, the order of each)."""
        shown = classes_of(dataset)
        groups = [g for g in ([i for i, s in enumerate(shown) if c in s] for c in range(len(dataset.classes))) if g]
        if not groups:
            raise BadDataset("class-aware sampling needs objects, and the dataset has none")
        count = len(dataset)

        def order(epoch: int) -> Array:
            rng = np.random.default_rng([seed, 0, epoch])
            rounds = -(-count // (len(groups) * self.images))
            turns = np.concatenate([rng.permutation(len(groups)) for _ in range(rounds)])
            return np.concatenate([rng.choice(groups[t], self.images) for t in turns])[:count]

        return count, order


def classes_of(dataset: Dataset) -> list[frozenset[int]]:
    """The labels that each image shows."""
    return [frozenset(dataset.sample(i).truth.labels.tolist()) for i in range(len(dataset))]


def repeat_factors(dataset: Dataset, threshold: float) -> Array:
    """f64[images]: how often an epoch shows each image; see `Balanced`."""
    shown = classes_of(dataset)
    counts = np.zeros(max(1, len(dataset.classes)))
    for labels in shown:
        counts[list(labels)] += 1
    share = counts / max(1, len(shown))
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(share, 1e-12)))
    return np.array([max((of_class[c] for c in labels), default=1.0) for labels in shown])


class Order:
    """The image at a position of the endless run."""

    def __init__(self, sampling: Shuffled | Balanced | ClassAware, dataset: Dataset, seed: int) -> None:
        self._made_of = sampling, dataset, seed
        self.length, epoch = sampling.epochs(dataset, seed)
        self._epoch: Epoch = lru_cache(maxsize=4)(epoch)

    def __reduce__(self) -> tuple[type[Order], tuple[object, ...]]:
        return Order, self._made_of

    def __call__(self, position: int) -> int:
        """Its place in the dataset."""
        epoch, place = divmod(position, self.length)
        return int(self._epoch(epoch)[place])
