"""Offline inference over large sets of images: shares of the set, processed anywhere, joined in order.

A finished share is a file of its own beside the output, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from graphdet.data import Dataset, parse_data
from graphdet.data.proposals import required
from graphdet.errors import BackendMissing, BadImage, BadInput, MissingFile
from graphdet.eval.coco import result_rows
from graphdet.runtime import Engine, load

Share = tuple[int, int]  # first image and end
Done = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """What is asked of every image.

    engine: file · data: as `parse_data` reads it · score: least score, None for the engine's own · batch: images a call
    of the engine · threads: of an engine, 0 for its own choice · strict: an image that cannot be read ends the run.
    """

    engine: str
    data: str
    score: float | None = None
    batch: int = 1
    threads: int = 0
    strict: bool = False


@dataclass(frozen=True)
class Predicted:
    """What a run left.

    rows: of the results file · skipped: a record for each image that could not be read, with its `position` in the
    dataset and the `error`, in their order.
    """

    rows: int
    skipped: tuple[dict[str, Any], ...] = ()


def predict(
    job: Job,
    output: str | Path,
    *,
    workers: int = 1,
    share: int = 64,
    ray: bool = False,
    done: Done = lambda images: None,
) -> Predicted:
    """Run an engine over a dataset and write a COCO results file. Images that cannot be read are skipped and told of.

    Args:
        job: what to do.
        output: the file, which appears when all images are done. Until then finished shares are in the folder
            `<output>.parts`; the same call again goes on with them.
        workers: processes (1: this one), or actors of Ray.
        share: images in a share.
        ray: let Ray Data spread the shares over its cluster, which must see the engine and the images by these paths.
        done: told how many images are done, at first and after each share.

    Raises:
        BadInput: the folder of parts is of another job, or a process died. BackendMissing: Ray is not installed.
        MissingFile, BadArtefact, ...: of the engine and the data; BadImage of an image, where the job is strict.
    """
    output, count = Path(output), len(parse_data(job.data))
    parts = output.with_name(output.name + ".parts")
    _claim(parts, {**asdict(job), "images": count, "share": share})
    shares = [(first, min(first + share, count)) for first in range(0, count, share)]
    missing = [s for s in shares if not _part(parts, s).exists()]
    finished = sum(end - first for first, end in shares) - sum(end - first for first, end in missing)
    done(finished)
    run = _by_ray if ray else _here if workers == 1 else _in_processes
    for at, text in run(job, missing, workers):
        _write(_part(parts, at), text)
        finished += at[1] - at[0]
        done(finished)
    found = [json.loads(_part(parts, s).read_bytes()) for s in shares]
    rows, skipped = ([row for part in found for row in part[name]] for name in ("rows", "skipped"))
    _write(output, json.dumps(rows))
    shutil.rmtree(parts)
    return Predicted(len(rows), tuple(skipped))


def detect_share(job: Job, share: Share) -> str:
    """The `rows` of a share's images, and those `skipped`, as JSON. A process opens engine and dataset once."""
    engine, dataset = _opened(job)
    found: dict[str, list[dict[str, Any]]] = {"rows": [], "skipped": []}
    for first in range(share[0], share[1], job.batch):
        places = range(first, min(first + job.batch, share[1]))
        try:
            found["rows"] += _detect(engine, dataset, job.score, places)
        except (BadImage, MissingFile):
            if job.strict:
                raise
            for place in places:  # which of them it is
                try:
                    found["rows"] += _detect(engine, dataset, job.score, [place])
                except (BadImage, MissingFile) as fault:
                    found["skipped"].append({"position": place, "error": fault.as_dict()})
    return json.dumps(found)


def _detect(engine: Engine, dataset: Dataset, score: float | None, places: Sequence[int]) -> list[dict[str, Any]]:
    samples = [dataset.sample(i) for i in places]
    given = [required(s)[: engine.proposals] for s in samples] if engine.proposals else None
    found = engine([s.image for s in samples], proposals=given, score=score)
    return [row for s, objects in zip(samples, found, strict=True) for row in result_rows(s.id, objects, dataset)]


@cache
def _opened(job: Job) -> tuple[Engine, Dataset]:
    return load(job.engine, threads=job.threads or None), parse_data(job.data)


def _here(job: Job, shares: Sequence[Share], workers: int) -> Iterator[tuple[Share, str]]:
    for share in shares:
        yield share, detect_share(job, share)


def _in_processes(job: Job, shares: Sequence[Share], workers: int) -> Iterator[tuple[Share, str]]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool:
        waiting = {pool.submit(detect_share, job, share): share for share in shares}
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool:
            raise BadInput(
                "a process died while it detected objects", help="out of memory? fewer --workers; the rest is kept"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that writes


class _Actor:
    """What Ray runs in each of its actors."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the first image and the end of a share gets the result rows."""
        return {**row, "rows": detect_share(self.job, (int(row["first"]), int(row["end"])))}


def _by_ray(job: Job, shares: Sequence[Share], workers: int) -> Iterator[tuple[Share, str]]:
    try:
        import ray.data
    except ModuleNotFoundError:
        raise BackendMissing("Ray Data is not installed", help="pip install 'graphdet[ray]'") from None
    if not shares:
        return
    items = ray.data.from_items(
        [{"first": first, "end": end} for first, end in shares], override_num_blocks=len(shares)
    )
    for row in items.map(_Actor, fn_constructor_args=(job,), concurrency=workers).iter_rows():
        yield (int(row["first"]), int(row["end"])), str(row["rows"])


def _part(folder: Path, share: Share) -> Path:
    return folder / f"{share[0]:09d}.json"


def _claim(folder: Path, job: dict[str, Any]) -> None:
    """Make the folder of parts, or find it with parts of the same job."""
    note = folder / "job.json"
    if note.exists():
        before = json.loads(note.read_bytes())
        changed = [f"{k}: {before.get(k)} -> {v}" for k, v in job.items() if before.get(k) != v]
        if changed:
            raise BadInput(
                f"{folder} holds parts of another job: {'; '.join(changed)}", help="remove it, or write elsewhere"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write(note, json.dumps(job))


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    draft = file.with_name(file.name + ".draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, file)
