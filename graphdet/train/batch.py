"""Samples as the inputs of a training graph, and the endless deterministic stream of batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from graphdet.data.dataset import Dataset, Sample
from graphdet.errors import BadDataset
from graphdet.records import Array, Preprocess
from graphdet.runtime.preprocess import prepare
from graphdet.train.augment import Transform

Inputs = dict[str, Array]


def batch_inputs(samples: Sequence[Sample], spec: Preprocess) -> Inputs:
    """The graph inputs of a padded batch, by the engine's own pre-processing.

    Returns:
        pixels f32[N 3 H W], size f32[N 2] and geometry f32[N 4] as `prepare` gives them; padded f32[N 2], each size
        rounded up to the divisor; truth_boxes f32[N G 4] (xyxy
        in net pixels), truth_labels i64[N G], truth_count i64[N], where G is the largest count. Crowd regions are left
        out: they stand for no single object.

    Raises:
        BadImage: an image cannot be read.
    """
    ready = prepare([s.image for s in samples], spec)
    truths = [(s.truth.boxes[~s.truth.crowd], s.truth.labels[~s.truth.crowd]) for s in samples]
    count = np.array([len(labels) for _, labels in truths], np.int64)
    most = int(count.max(initial=0))
    boxes, labels = np.zeros((len(samples), most, 4), np.float32), np.zeros((len(samples), most), np.int64)
    for i, (its_boxes, its_labels) in enumerate(truths):
        scale, offset = ready.geometry[i, :2], ready.geometry[i, 2:]
        boxes[i, : count[i]] = its_boxes * np.tile(scale, 2) + np.tile(offset, 2)
        labels[i, : count[i]] = its_labels
    padded = (np.ceil(ready.size / spec.divisor) * spec.divisor).astype(np.float32)
    images = {"pixels": ready.pixels, "size": ready.size, "padded": padded, "geometry": ready.geometry}
    return {**images, "truth_boxes": boxes, "truth_labels": labels, "truth_count": count}


@dataclass(frozen=True)
class Batches:
    """Batch number `step` of an endless shuffled run over a dataset; it depends on (seed, step) alone.

    Every epoch is a new order. A batch may span two epochs, so that all have `batch` images.
    """

    dataset: Dataset
    spec: Preprocess
    batch: int
    seed: int = 0
    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.dataset):
            raise BadDataset("the dataset for training has no images")

    def __call__(self, step: int) -> Inputs:
        """The graph inputs of one step."""
        return batch_inputs([self._sample(step * self.batch + i) for i in range(self.batch)], self.spec)

    def _sample(self, position: int) -> Sample:
        epoch, place = divmod(position, len(self.dataset))
        sample = self.dataset.sample(int(_order(len(self.dataset), self.seed, epoch)[place]))
        rng = np.random.default_rng([self.seed, 1, position])
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> Array:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


@dataclass
class Remembered:
    """A dataset whose samples are decoded (or drawn) once and kept, up to `limit` bytes of pixels."""

    dataset: Dataset
    limit: int
    _kept: dict[int, Sample] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the dataset."""
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int) -> Sample:
        """The image at a position, its pixels decoded."""
        found = self._kept.get(index)
        if found is None:
            drawn = self.dataset.sample(index)
            pixels = drawn.pixels()
            found = replace(drawn, image=pixels)
            with self._lock:
                if self.limit >= pixels.nbytes and index not in self._kept:
                    self._kept[index] = found
                    self.limit -= pixels.nbytes
        return found


@contextmanager
def prefetched(batches: Batches, first: int, workers: int) -> Iterator[Iterator[Mapping[str, Array]]]:
    """Batches from step `first` on, without end, prepared ahead by threads; results do not depend on their number."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="graphdet-batch")
    try:
        yield _ahead(pool, batches, first, 2 * workers + 2)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, batches: Batches, step: int, depth: int) -> Iterator[Inputs]:
    waiting: deque[Future[Inputs]] = deque(pool.submit(batches, step + i) for i in range(depth))
    while True:
        step += 1
        yield waiting.popleft().result()
        waiting.append(pool.submit(batches, step + depth - 1))
