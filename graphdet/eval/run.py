"""Run an engine over a dataset and score it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from graphdet.data.dataset import Dataset, Sample
from graphdet.errors import BadInput, InternalError
from graphdet.eval.coco import CocoEvaluator, check_metrics
from graphdet.eval.score import CocoResult
from graphdet.records import Array, Detections


class Engine(Protocol):
    """Anything that finds objects in a list of images, given as paths or as u8[H W 3] BGR pixels."""

    def __call__(self, images: list[Path | Array], /) -> Sequence[Detections]:
        """One `Detections` per image, boxes in pixels of that image."""


_Detect = Callable[[list[Sample]], Sequence[Detections]]


def evaluate(
    engine: Engine,
    dataset: Dataset,
    *,
    batch: int = 1,
    limit: int | None = None,
    progress: bool | None = None,
    backend: str = "auto",
    results: str | Path | None = None,
    metrics: Sequence[str] | None = None,
    proposals: Callable[[Sample], Array] | None = None,
) -> CocoResult:
    """COCO figures of an engine on a dataset.

    Args:
        engine: called with up to `batch` images at a time; the last call may hold fewer.
        dataset: images and truths.
        batch: images per call, at least 1.
        limit: evaluate only the first so many images; the figures are those of these images alone.
        progress: a progress bar on stderr; None shows it when stderr is a terminal.
        backend: see `CocoEvaluator`.
        results: where to write the detections as a COCO results file; `x.json` for boxes, and `x.segm.json`,
            `x.proposal.json` for these metrics.
        metrics: see `CocoEvaluator.summarize`.
        proposals: boxes f32[K 4] that the engine is given with an image, best first, as `proposals` of its call (see
            `Engine`): as many as it takes. None gives it those that the samples carry, if any.

    Returns:
        The figures. When interrupted by Ctrl-C after at least one image, those of the images done so far, with
        `complete=False` and a note on stderr.

    Raises:
        BadInput: `batch` or `limit` is out of range.
        UnknownName, BadDataset: see `CocoEvaluator.summarize`.
    """
    check_metrics(metrics or ())
    if batch < 1 or (limit is not None and limit < 0):
        raise BadInput(f"batch {batch}, limit {limit}: expected batch of at least 1 and a limit that is not negative")
    evaluator = CocoEvaluator(dataset, backend=backend)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    try:
        _run(_bound(engine, proposals), dataset, evaluator, _steps(count, batch, progress))
    except KeyboardInterrupt:
        if not len(evaluator):
            raise
        print(f"interrupted: the figures are of the first {len(evaluator)} of {count} images", file=sys.stderr)
    result = evaluator.summarize(metrics)
    if results is not None:
        evaluator.write_results(results)
        for metric in result.also.keys() & {"segm", "proposal"}:
            evaluator.write_results(Path(results).with_suffix(f".{metric}.json"), metric)
    return replace(result, complete=len(evaluator) == count)


def _bound(engine: Engine, proposals: Callable[[Sample], Array] | None) -> _Detect:
    """The engine as a function of samples."""
    most: int | None = getattr(engine, "proposals", None)
    call = cast(Callable[..., Sequence[Detections]], engine)

    def detect(samples: list[Sample]) -> Sequence[Detections]:
        given = [s.proposals if proposals is None else proposals(s) for s in samples]
        boxes = [some[:most] for some in given if some is not None]
        return call([s.image for s in samples], **({"proposals": boxes} if boxes and (most != 0 or proposals) else {}))

    return detect


def _run(detect: _Detect, dataset: Dataset, evaluator: CocoEvaluator, steps: Iterator[tuple[int, int]]) -> None:
    for first, end in steps:
        samples = [dataset.sample(i) for i in range(first, end)]
        found = detect(samples)
        if len(found) != len(samples):
            raise InternalError(f"the engine returned {len(found)} detections for {len(samples)} images")
        for sample, detections in zip(samples, found, strict=True):
            evaluator.add_sample(sample, detections)


def _steps(count: int, batch: int, progress: bool | None) -> Iterator[tuple[int, int]]:
    """(first, end) of each batch, moving a progress bar along."""
    steps = ((first, min(first + batch, count)) for first in range(0, count, batch))
    shown = sys.stderr.isatty() if progress is None else progress
    if not shown:
        yield from steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count)
        for first, end in steps:
            yield first, end
            bar.update(task, completed=end)
