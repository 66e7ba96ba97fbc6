"""Detect objects in images: pictures with boxes, and detections.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphdet.cli._images import find_images, picture_names, refuse_overwriting
from graphdet.cli._output import detections_table, emit, json_option, make_folder, note, progress, warn, write_text

if TYPE_CHECKING:
    from graphdet.runtime import Engine


@click.command()
@click.argument("engine_file", metavar="ENGINE", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for pictures and detections.json.")
@click.option(
    "--score", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Leave out detections below it."
)
@click.option(
    "--iou", type=click.FloatRange(0, 1), help="Overlap above which a worse box goes.  [default: the engine's]"
)
@json_option
def command(
    engine_file: Path, images: tuple[Path, ...], out: Path, score: float, iou: float | None, as_json: bool
) -> None:
    """Run ENGINE (.gdet) on image files or folders of them.

    An image that cannot be read is skipped with a warning, and the exit code is 1. Ctrl-C keeps what is done.

    \b
    Example:
      graphdet run x.gdet photos/ --out found --score 0.5
    """  # noqa: D301
    from graphdet.errors import BadImage, MissingFile
    from graphdet.runtime import load

    engine = load(engine_file)
    files = find_images(images)
    pictures = [make_folder(out) / name for name in picture_names(files)]
    refuse_overwriting(files, pictures)
    records: list[dict[str, Any]] = []
    failed, stopped = 0, False
    try:
        with progress("detecting", len(files), shown=not as_json) as step:
            for file, picture in zip(files, pictures, strict=True):
                try:
                    records.append(detect(engine, file, picture, score, iou, quiet=as_json))
                except (BadImage, MissingFile) as fault:
                    failed += 1
                    records.append({"image": str(file), "error": fault.as_dict()})
                    warn(fault.message)
                step()
    except KeyboardInterrupt:
        stopped = True
        note(f"\ninterrupted: {len(records)} of {len(files)} images are done and kept")
    write_text(out / "detections.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        emit({"detections": records, "failed": failed, "complete": not stopped, "out": str(out)})
    else:
        note(
            f"{len(records) - failed} pictures and detections.json are in {out}"
            + (f"; {failed} skipped" if failed else "")
        )
    click.get_current_context().exit(130 if stopped else 1 if failed else 0)


def detect(
    engine: Engine, file: Path, picture: Path, score: float, iou: float | None, *, quiet: bool
) -> dict[str, Any]:
    """Run one image, write its picture, print its table; the record for detections.json."""
    import cv2

    from graphdet.draw import draw_detections
    from graphdet.errors import MissingFile
    from graphdet.runtime.preprocess import load_image

    pixels = load_image(file)
    found = engine(pixels, score=score, iou=iou)[0].above(score)
    _, data = cv2.imencode(picture.suffix, draw_detections(pixels, found, score=score))
    try:
        picture.write_bytes(data.tobytes())
    except OSError as fault:
        raise MissingFile(
            f"cannot write {picture}: {fault.strerror}", help="choose another folder with --out"
        ) from None
    if not quiet:
        detections_table(found, f"{file}: {len(found)} objects")
    return {"image": str(file), "picture": picture.name, **found.as_dict()}
