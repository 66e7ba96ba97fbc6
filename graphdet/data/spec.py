"""Name a dataset in one string, as the command line's `--data` takes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from graphdet.data.coco import CocoDetection
from graphdet.data.dataset import Dataset
from graphdet.errors import BadDataset, nearest


def parse_data(spec: str) -> Dataset:
    """Open the dataset that a string names.

    Forms:
        `coco:IMAGE_DIR:ANNOTATIONS.json` for COCO's instances format;
        `scenes:COUNT`, `scenes:COUNT:SEED` or `scenes:COUNT:SEED:HEIGHTxWIDTH` for drawn scenes (seed 0, 320x320).

    Raises:
        BadDataset: the string has none of these forms, or the dataset's records are unusable.
        MissingFile: a named file or folder does not exist.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or kind not in _READERS:
        guess = nearest(kind, _READERS) or f"forms: {', '.join(form for form, _ in _READERS.values())}"
        raise BadDataset(f"dataset {spec!r} has no known form", help=guess)
    form, read = _READERS[kind]
    dataset = read(rest)
    if dataset is None:
        raise BadDataset(f"dataset {spec!r} is malformed", help=f"write {form}")
    return dataset


def _coco(rest: str) -> Dataset | None:
    # A path may hold colons itself (a drive letter): take the split whose two parts exist, else the last one.
    splits = [(rest[: m.start()], rest[m.end() :]) for m in re.finditer(":", rest)]
    splits = [(folder, file) for folder, file in splits if folder and file]
    if not splits:
        return None
    existing = [s for s in splits if Path(s[0]).is_dir() and Path(s[1]).is_file()]
    return CocoDetection(*(existing or splits[-1:])[0])


def _scenes(rest: str) -> Dataset | None:
    from graphdet.data.scenes import Scenes

    found = re.fullmatch(r"(\d{1,9})(?::(\d{1,18}))?(?::(\d{2,5})x(\d{2,5}))?", rest)
    if found is None:
        return None
    count, seed, height, width = (int(g) if g else None for g in found.groups())
    return Scenes(count or 0, seed or 0, size=(height or 320, width or 320))


_READERS: dict[str, tuple[str, Callable[[str], Dataset | None]]] = {
    "coco": ("coco:IMAGE_DIR:ANNOTATIONS.json", _coco),
    "scenes": ("scenes:COUNT[:SEED[:HEIGHTxWIDTH]]", _scenes),
}
