"""Name a dataset in one string, as the command line's `--data` takes it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from graphdet.data.coco import CocoDetection
from graphdet.data.dataset import Dataset
from graphdet.errors import BadDataset, MissingFile, nearest


def parse_data(spec: str) -> Dataset:
    """Open the dataset that a string names.

    Forms:
        `coco:IMAGE_DIR:ANNOTATIONS.json` for COCO's instances format;
        `panoptic:IMAGE_DIR:ANNOTATIONS.json` for COCO's panoptic one, the PNGs in the folder ANNOTATIONS;
        `voc:FOLDER[:SPLIT]` for Pascal VOC's;
        `yolo:IMAGE_DIR:NAMES.txt` for YOLO's text files, in the folder whose name has `labels` for `images`;
        `folder:IMAGE_DIR` for images without annotations;
        `python:MODULE:FUNCTION` for what a function of yours returns;
        `scenes:COUNT`, `scenes:COUNT:SEED` or `scenes:COUNT:SEED:HEIGHTxWIDTH` for drawn scenes (seed 0, 320x320).

    After a form, `#cat,dog` or `#@names.txt` (a name a line) takes these classes, in this order; after that,
    ` with FILE.json` brings the proposals of a file along (see `Proposals`). Before it, `3*` shows every image so
    often; ` + ` between two joins them; so does ` & `, and an evaluation then gives the figures of each too.

    Raises:
        BadDataset: the string has none of these forms, or the dataset's records are unusable.
        MissingFile: a named file or folder does not exist.
    """
    from graphdet.data.proposals import Proposals, Proposed
    from graphdet.data.wrap import Concat, Only, Repeat

    for sign in "&+":
        parts = re.split(rf"\s+\{sign}\s+", spec.strip())
        if len(parts) > 1:
            return Concat(tuple(parse_data(part) for part in parts), separate=sign == "&")
    times = re.match(r"(\d{1,6})\*(.*)", spec, re.DOTALL)
    if times:
        return Repeat(parse_data(times[2]), int(times[1]))
    found = re.fullmatch(r"(.*\S)\s+with\s+([^:]+\.json)", spec, re.DOTALL)
    if found:
        return Proposed(parse_data(found[1]), Proposals(found[2]))
    whole, hash_, names = spec.partition("#")
    if hash_:
        return Only.of(parse_data(whole), _names(names))
    return _parse_form(spec)


def _parse_form(spec: str) -> Dataset:
    kind, colon, rest = spec.partition(":")
    if not colon or kind not in _READERS:
        guess = nearest(kind, _READERS) or f"forms: {', '.join(form for form, _ in _READERS.values())}"
        raise BadDataset(f"dataset {spec!r} has no known form", help=guess)
    form, read = _READERS[kind]
    dataset = read(rest)
    if dataset is None:
        raise BadDataset(f"dataset {spec!r} is malformed", help=f"write {form}")
    return dataset


def _names(text: str) -> tuple[str, ...]:
    if not text.startswith("@"):
        return tuple(name.strip() for name in text.split(","))
    file = Path(text[1:])
    if not file.is_file():
        raise MissingFile(f"the file of class names {str(file)!r} does not exist")
    return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def _coco(rest: str) -> Dataset | None:
    found = _split(rest, lambda a, b: a.is_dir() and b.is_file())
    return CocoDetection(*found) if found else None


def _panoptic(rest: str) -> Dataset | None:
    from graphdet.data.panoptic import CocoPanoptic

    found = _split(rest, lambda a, b: a.is_dir() and b.is_file())
    return CocoPanoptic(*found) if found else None


def _voc(rest: str) -> Dataset | None:
    from graphdet.data.voc import Voc

    if not rest:
        return None
    if Path(rest).is_dir():
        return Voc(rest)
    found = _split(rest, lambda a, b: a.is_dir())
    return Voc(found[0], str(found[1])) if found else Voc(rest)


def _yolo(rest: str) -> Dataset | None:
    from graphdet.data.yolo import Yolo

    found = _split(rest, lambda a, b: a.is_dir() and b.is_file())
    return Yolo(*found) if found else None


def _folder(rest: str) -> Dataset | None:
    from graphdet.data.yolo import ImageFolder

    return ImageFolder(rest) if rest else None


def _python(rest: str) -> Dataset | None:
    module, _, function = rest.partition(":")
    if not module or not function:
        return None
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise BadDataset(f"python:{rest}: {error}", help="the module must be importable from here") from error
    if not isinstance(made, Dataset):
        raise BadDataset(f"python:{rest} returned a {type(made).__name__}, which is no Dataset",
                         help="it needs `classes`, `__len__` and `sample(index)`")  # fmt: skip
    return made


def _split(rest: str, good: Callable[[Path, Path], bool]) -> tuple[Path, Path] | None:
    """Two paths around a colon. Paths may hold colons themselves: the split that is good, else the last one."""
    pairs: Iterable[tuple[str, str]] = ((rest[: m.start()], rest[m.end() :]) for m in re.finditer(":", rest))
    splits = [(Path(a), Path(b)) for a, b in pairs if a and b]
    return next((s for s in splits if good(*s)), splits[-1]) if splits else None


def _scenes(rest: str) -> Dataset | None:
    from graphdet.data.scenes import Scenes

    found = re.fullmatch(r"(\d{1,9})(?::(\d{1,18}))?(?::(\d{2,5})x(\d{2,5}))?", rest)
    if found is None:
        return None
    count, seed, height, width = (int(g) if g else None for g in found.groups())
    return Scenes(count or 0, seed or 0, size=(height or 320, width or 320))


_READERS: dict[str, tuple[str, Callable[[str], Dataset | None]]] = {
    "coco": ("coco:IMAGE_DIR:ANNOTATIONS.json", _coco),
    "panoptic": ("panoptic:IMAGE_DIR:ANNOTATIONS.json", _panoptic),
    "voc": ("voc:FOLDER[:SPLIT]", _voc),
    "yolo": ("yolo:IMAGE_DIR:NAMES.txt", _yolo),
    "folder": ("folder:IMAGE_DIR", _folder),
    "python": ("python:MODULE:FUNCTION", _python),
    "scenes": ("scenes:COUNT[:SEED[:HEIGHTxWIDTH]]", _scenes),
}
