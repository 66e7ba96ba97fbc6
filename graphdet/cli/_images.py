"""Which images `run` takes, their ids, and how it names and writes their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphdet.records import Array

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def find_images(given: tuple[Path, ...]) -> list[Path]:
    """The files, and of folders the images right inside them by name. Raises MissingFile for an empty folder."""
    from graphdet.errors import MissingFile

    found: list[Path] = []
    for path in given:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS) if path.is_dir() else [path]
        if not inside:
            raise MissingFile(f"the folder {path} holds no images", help=f"known endings: {' '.join(sorted(ENDINGS))}")
        found += inside
    return found


def refuse_overwriting(files: list[Path], pictures: list[Path]) -> None:
    """Raise BadInput when a picture would replace one of the images."""
    from graphdet.errors import BadInput

    both = {file.resolve() for file in files} & {picture.resolve() for picture in pictures}
    if both:
        raise BadInput(f"the picture would replace the image {min(both)}", help="choose another folder with --out")


def picture_names(files: list[Path]) -> list[str]:
    """A file name for each picture, no two alike: `photo.jpg`, and `photo_2.jpg` for another folder's photo."""
    taken: dict[str, int] = {}
    names = []
    for file in files:
        ending = ".jpg" if file.suffix.lower() in (".jpg", ".jpeg") else ".png"
        name = f"{file.stem}{ending}"
        while name in taken:
            taken[f"{file.stem}{ending}"] += 1
            name = f"{file.stem}_{taken[f'{file.stem}{ending}']}{ending}"
        taken[name] = 1
        names.append(name)
    return names


def write_picture(file: Path, drawn: Array) -> None:
    """Raises MissingFile where the folder cannot be written to."""
    import cv2

    from graphdet.errors import MissingFile

    _, data = cv2.imencode(file.suffix, drawn)
    try:
        file.write_bytes(data.tobytes())
    except OSError as fault:
        raise MissingFile(f"cannot write {file}: {fault.strerror}", help="choose another folder with --out") from None


def image_ids(files: Sequence[Path]) -> list[int]:
    """The names of files, where they are different numbers; else 1, 2, ..."""
    names = [int(file.stem) if file.stem.isdecimal() else -1 for file in files]
    return names if len(set(names) - {-1}) == len(files) else list(range(1, len(files) + 1))
