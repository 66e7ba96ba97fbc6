"""Detect objects in images: pictures with boxes, and detections.json; panoptic segments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphdet.cli._images import find_images, image_ids, picture_names, refuse_overwriting, write_picture
from graphdet.cli._output import detections_table, emit, json_option, make_folder, note, progress, warn, write_text
from graphdet.cli._proposals import proposals_option, read_proposals

if TYPE_CHECKING:
    from graphdet.data.proposals import Proposals
    from graphdet.records import Panoptic
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
@click.option(
    "--panoptic-out",
    type=click.Path(path_type=Path),
    help="Find panoptic segments instead: pictures of them, and panoptic.json with its PNGs in this folder.",
)
@proposals_option
@json_option
def command(
    engine_file: Path,
    images: tuple[Path, ...],
    out: Path,
    score: float,
    iou: float | None,
    panoptic_out: Path | None,
    proposals: Path | None,
    as_json: bool,
) -> None:
    """Run ENGINE (.gdet) on image files or folders of them.

    An image that cannot be read is skipped with a warning, and the exit code is 1. Ctrl-C keeps what is done. Panoptic
    results are in COCO's format; the id of an image is its name where all names are numbers, else its place from 1.

    \b
    Examples:
      graphdet run x.gdet photos/ --out found --score 0.5
      graphdet run mask2former.gdet val2017/ --out found --panoptic-out found
      graphdet run rpn.gdet photos/ --out first --score 0
      graphdet run fast_rcnn.gdet photos/ --out found --proposals first/detections.json
    """  # noqa: D301
    from graphdet.errors import BadImage, MissingFile
    from graphdet.runtime import load

    engine, boxes = load(engine_file), read_proposals(proposals)
    files = find_images(images)
    pictures = [make_folder(out) / name for name in picture_names(files)]
    refuse_overwriting(files, pictures)
    records: list[dict[str, Any]] = []
    segments: list[tuple[int, Panoptic]] = []
    numbers = image_ids(files)
    failed, stopped = 0, False
    try:
        with progress("detecting", len(files), shown=not as_json) as step:
            for number, file, picture in zip(numbers, files, pictures, strict=True):
                try:
                    if panoptic_out is None:
                        records.append(detect(engine, file, picture, score, iou, boxes, quiet=as_json))
                    else:
                        segments.append((number, panoptic(engine, file, picture)))
                        facts = {"image": str(file), "id": number, "picture": picture.name}
                        records.append({**facts, **segments[-1][1].as_dict()})
                except (BadImage, MissingFile) as fault:
                    failed += 1
                    records.append({"image": str(file), "error": fault.as_dict()})
                    warn(fault.message)
                step()
    except KeyboardInterrupt:
        stopped = True
        note(f"\ninterrupted: {len(records)} of {len(files)} images are done and kept")
    write_text(out / "detections.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    if panoptic_out is not None:
        write_segments(make_folder(panoptic_out) / "panoptic.json", segments)
    if as_json:
        emit({"detections": records, "failed": failed, "complete": not stopped, "out": str(out)})
    else:
        note(
            f"{len(records) - failed} pictures and detections.json are in {out}"
            + (f"; {failed} skipped" if failed else "")
        )
    click.get_current_context().exit(130 if stopped else 1 if failed else 0)


def detect(
    engine: Engine, file: Path, picture: Path, score: float, iou: float | None, proposals: Proposals | None, *,
    quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """Run one image, write its picture, print its table; the record for detections.json."""
    from graphdet.draw import draw_detections
    from graphdet.runtime.preprocess import load_image

    pixels = load_image(file)
    given = proposals and proposals.of(file, engine.proposals)
    found = engine(pixels, proposals=given, score=score, iou=iou)[0].above(score)
    write_picture(picture, draw_detections(pixels, found, score=score))
    if not quiet:
        detections_table(found, f"{file}: {len(found)} objects")
    return {"image": str(file), "picture": picture.name, **found.as_dict()}


def panoptic(engine: Engine, file: Path, picture: Path) -> Panoptic:
    """Segment one image and write its picture."""
    from graphdet.draw import draw_panoptic
    from graphdet.runtime.preprocess import load_image

    pixels = load_image(file)
    found = engine.panoptic(pixels)[0]
    write_picture(picture, draw_panoptic(pixels, found))
    return found


def write_segments(file: Path, segments: Sequence[tuple[int, Panoptic]]) -> None:
    """A results file in COCO's format. Its categories are the classes that were found, with label + 1 as id."""
    import numpy as np

    from graphdet.data import write_panoptic

    found = {int(k): bool(t) for _, one in segments for k, t in zip(one.labels, np.asarray(one.things), strict=True)}
    labels, names = sorted(found), segments[0][1].classes if segments else ()
    categories = [{"id": k + 1, "name": names[k], "isthing": int(found[k])} for k in labels]
    write_panoptic(
        file, [(i, replace(one, labels=np.searchsorted(labels, one.labels))) for i, one in segments], categories
    )
