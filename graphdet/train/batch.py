"""Samples as the inputs of a training graph, and the endless deterministic stream of batches."""

from __future__ import annotations

import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from graphdet.data.dataset import Dataset, Sample
from graphdet.data.order import Order, Shuffled
from graphdet.data.proposals import required, stacked
from graphdet.data.transforms import Change, CopyPaste, apply
from graphdet.data.transforms.move import bitmap
from graphdet.errors import BadDataset, BadRecipe
from graphdet.ir import Graph
from graphdet.records import Array, Preprocess, Truth
from graphdet.runtime.preprocess import Prepared, prepare

Inputs = dict[str, Array]


def most_proposals(graph: Graph) -> int:
    """How many proposals of an image a detector is given at most; 0 where it is given none."""
    boxes = graph.inputs.get("proposals.boxes")
    return 0 if boxes is None else boxes.shape[1].constant or 0


def batch_inputs(samples: Sequence[Sample], spec: Preprocess, *, masks: bool = False, proposals: int = 0) -> Inputs:
    """The graph inputs of a padded batch, by the engine's own pre-processing.

    Returns:
        pixels f32[N 3 H W], size f32[N 2] and geometry f32[N 4] as `prepare` gives them; padded f32[N 2], each size
        rounded up to the divisor; truth_boxes f32[N G 4] (xyxy
        in net pixels), truth_labels i64[N G], truth_count i64[N], where G is the largest count; with `masks` also
        truth_masks u8[N G H W]. Crowd regions stand for no single object: they are truth_crowds f32[N C 4] and
        truth_crowd_count i64[N]. With `proposals`, how many a detector is given at most, also proposals_boxes
        f32[N proposals 4] in net pixels and proposals_count i64[N].

    Raises:
        BadImage: an image cannot be read.
        BadDataset: masks or proposals are wanted and a sample has none.
    """
    ready = prepare([s.image for s in samples], spec)
    truths = [s.truth.take(~s.truth.crowd) for s in samples]
    boxes, count = _boxes(truths, ready)
    crowds, crowd_count = _boxes([s.truth.take(s.truth.crowd) for s in samples], ready)
    most = boxes.shape[1]
    labels = np.zeros((len(samples), most), np.int64)
    for i, truth in enumerate(truths):
        labels[i, : count[i]] = truth.labels
    padded = (np.ceil(ready.size / spec.divisor) * spec.divisor).astype(np.float32)
    images = {"pixels": ready.pixels, "size": ready.size, "padded": padded, "geometry": ready.geometry}
    objects = {"truth_boxes": boxes, "truth_labels": labels, "truth_count": count}
    found = {**images, **objects, "truth_crowds": crowds, "truth_crowd_count": crowd_count}
    if masks:
        found["truth_masks"] = _bitmaps(samples, ready, most)
    if proposals:
        given = [_to_net(required(s), ready.geometry[i]) for i, s in enumerate(samples)]
        found["proposals_boxes"], found["proposals_count"] = stacked(given, proposals)
    return found


def _boxes(truths: Sequence[Truth], ready: Prepared) -> tuple[Array, Array]:
    """Boxes f32[N G 4] in net pixels, padded to the largest count, and the counts i64[N]."""
    count = np.array([len(t) for t in truths], np.int64)
    boxes = np.zeros((len(truths), int(count.max(initial=0)), 4), np.float32)
    for i, truth in enumerate(truths):
        boxes[i, : count[i]] = _to_net(truth.boxes, ready.geometry[i])
    return boxes, count


def _to_net(boxes: Array, geometry: Array) -> Array:
    return np.asarray(boxes * np.tile(geometry[:2], 2) + np.tile(geometry[2:], 2), np.float32)


def _bitmaps(samples: Sequence[Sample], ready: Prepared, most: int) -> Array:
    """u8[N G H W]: outlines are scaled and then filled, bitmaps scaled by the nearest pixel."""
    import cv2

    size = int(ready.pixels.shape[2]), int(ready.pixels.shape[3])
    out = np.zeros((len(samples), most, *size), np.uint8)
    for i, sample in enumerate(samples):
        truth = sample.truth.take(~sample.truth.crowd)
        if truth.masks is None:
            raise BadDataset(f"image {sample.id} has no masks, and the detector learns them")
        scale, (height, width) = ready.geometry[i, :2], (int(v) for v in ready.size[i])
        for k, mask in enumerate(truth.masks):
            if isinstance(mask, tuple):
                out[i, k, :height, :width] = bitmap(tuple(p * scale for p in mask), (height, width))
            else:
                out[i, k, :height, :width] = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return out


@dataclass(frozen=True)
class Plan:
    """What happens to samples, by step.

    early, late: changes before and from step `late_from` on · sizes: (height, width) of the target area, one drawn
    every `resize_every` steps; none: the detector's own.
    """

    early: tuple[Change, ...] = ()
    late: tuple[Change, ...] = ()
    late_from: int = 0
    sizes: tuple[tuple[int, int], ...] = ()
    resize_every: int = 1

    def changes(self, step: int) -> tuple[Change, ...]:
        """The changes of a step's samples."""
        return self.late if step >= self.late_from else self.early

    def spec(self, own: Preprocess, seed: int, step: int) -> Preprocess:
        """The pre-processing of a step."""
        if not self.sizes:
            return own
        rng = np.random.default_rng([seed, 2, step // self.resize_every])
        return replace(own, size=self.sizes[int(rng.integers(len(self.sizes)))])


@dataclass(frozen=True)
class Batches:
    """Batch number `step` of an endless run over a dataset; it depends on (seed, step) alone.

    A batch may span two epochs, so that all have `batch` images. Process `rank` of `world` gets every one of its
    consecutive images, in `parts` equal parts. masks, proposals: what `batch_inputs` is to give beside.
    """

    dataset: Dataset
    spec: Preprocess
    batch: int
    seed: int = 0
    plan: Plan = field(default_factory=Plan)
    order: Order | None = None
    parts: int = 1
    shard: tuple[int, int] = (0, 1)
    masks: bool = False
    proposals: int = 0

    def __post_init__(self) -> None:
        if not len(self.dataset):
            raise BadDataset("the dataset for training has no images")
        if self.order is None:
            object.__setattr__(self, "order", Order(Shuffled(), self.dataset, self.seed))

    def __call__(self, step: int) -> list[Inputs]:
        """The graph inputs of one step, a part after the other."""
        rank, world = self.shard
        own = self.batch // world
        first, part, spec = (
            step * self.batch + rank * own,
            own // self.parts,
            self.plan.spec(self.spec, self.seed, step),
        )
        samples = [self._sample(first + i, self.plan.changes(step)) for i in range(own)]
        groups = (samples[i : i + part] for i in range(0, own, part))
        return [batch_inputs(group, spec, masks=self.masks, proposals=self.proposals) for group in groups]

    def _sample(self, position: int, changes: Sequence[Change]) -> Sample:
        assert self.order is not None, "set when it was made"
        rng = np.random.default_rng([self.seed, 1, position])
        return apply(changes, self._load(self.order(position), changes), rng, lambda: self._random(rng, changes))

    def _random(self, rng: np.random.Generator, changes: Sequence[Change]) -> Sample:
        return self._load(int(rng.integers(len(self.dataset))), changes)

    def _load(self, index: int, changes: Sequence[Change]) -> Sample:
        """An image; without masks where nothing asks for them, as moving them costs time."""
        sample = self.dataset.sample(index)
        if self.masks or any(isinstance(c, CopyPaste) for c in changes):
            return sample
        return replace(sample, truth=replace(sample.truth, masks=None))


@dataclass
class Remembered:
    """A dataset whose samples are decoded (or drawn) once and kept, up to `limit` bytes of pixels."""

    dataset: Dataset
    limit: int
    _kept: dict[int, Sample] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __reduce__(self) -> tuple[type[Remembered], tuple[Dataset, int]]:
        return Remembered, (self.dataset, self.limit)  # another process remembers for itself

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
            if pixels.shape[:2] != drawn.size:
                text = f"image {drawn.id} ({drawn.image if isinstance(drawn.image, Path) else 'in memory'}) has"
                raise BadDataset(f"{text} {pixels.shape[:2]} rows and columns; the annotations say {drawn.size}")
            found = replace(drawn, image=pixels)
            with self._lock:
                if self.limit >= pixels.nbytes and index not in self._kept:
                    self._kept[index] = found
                    self.limit -= pixels.nbytes
        return found


@contextmanager
def prefetched(
    batches: Batches, first: int, workers: int, *, processes: bool = False
) -> Iterator[Iterator[list[Inputs]]]:
    """Batches from step `first` on, without end, prepared ahead; results do not depend on by how many, or by what.

    processes: of their own instead of threads, for transforms that hold Python's lock. Raises BadRecipe where the
    dataset cannot be sent to them, or one of them dies.
    """
    make: Callable[[int], list[Inputs]] = _prepare if processes else batches
    pool = _processes(batches, workers) if processes else ThreadPoolExecutor(workers, "graphdet-batch")
    try:
        yield _ahead(pool, make, first, workers + 2)
    except BrokenProcessPool:
        raise BadRecipe(
            "a process that prepares batches died",
            help="out of memory? fewer workers, less cache_mb; or loader=threads",
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_sent: list[Batches] = []  # what a process that prepares batches was given


def _processes(batches: Batches, workers: int) -> Executor:
    try:
        packed = pickle.dumps(batches)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BadRecipe(f"the dataset cannot be sent to other processes: {error}", help="loader=threads") from error
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(packed,))


def _begin(packed: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    _sent.append(pickle.loads(packed))


def _prepare(step: int) -> list[Inputs]:
    return _sent[0](step)


def _ahead(pool: Executor, batches: Callable[[int], list[Inputs]], step: int, depth: int) -> Iterator[list[Inputs]]:
    waiting: deque[Future[list[Inputs]]] = deque(pool.submit(batches, step + i) for i in range(depth))
    while True:
        step += 1
        yield waiting.popleft().result()
        waiting.append(pool.submit(batches, step + depth - 1))
