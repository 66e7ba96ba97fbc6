"""Detect objects in large sets of images, in several processes or on a cluster: a COCO results file."""

from __future__ import annotations

from pathlib import Path

import click

from graphdet.cli._output import emit, json_option, note, progress, warn

SHOWN = 20  # warnings of skipped images


@click.command()
@click.argument("engine_file", metavar="ENGINE", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, help="folder:IMAGE_DIR, coco:IMAGE_DIR:ANNOTATIONS.json, ...; as in `graphdet data`."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Results file to write (.json).")
@click.option("--score", type=click.FloatRange(0, 1), help="Leave out detections below it.  [default: the engine's]")
@click.option("--batch", type=click.IntRange(1, 4096), default=1, show_default=True, help="Images in one call.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, or actors of Ray.")
@click.option("--threads", type=click.IntRange(0), default=0, help="Of each worker's engine.  [default: all cores]")
@click.option("--share", type=click.IntRange(1), default=64, show_default=True, help="Images a worker takes at a time.")
@click.option("--strict", is_flag=True, help="End at the first image that cannot be read, instead of skipping it.")
@click.option("--ray", is_flag=True, help="Spread the work over a Ray cluster (or this machine) by Ray Data.")
@json_option
def command(
    engine_file: Path, data: str, output: Path, score: float | None, batch: int, workers: int, threads: int,
    share: int, strict: bool, ray: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run ENGINE (.gdet) over a dataset and write what it finds, in the order of the images, as COCO results.

    OUTPUT appears when all is done. After Ctrl-C or a crash the same command goes on with what is missing. Image ids
    are those of the annotations; of a folder, the images' numbers by name, from 1. Images that cannot be read are
    skipped and named at the end, with exit code 1.

    \b
    Example:
      graphdet predict x.gdet --data folder:archive -o found.json --workers 4 --threads 1
    """  # noqa: D301
    from graphdet.data import parse_data
    from graphdet.errors import MissingFile
    from graphdet.eval import Job, predict

    if not output.parent.is_dir():  # found before the work, not after it
        raise MissingFile(f"the folder {output.parent} does not exist", help="make it, or choose another with -o")
    count, seen = len(parse_data(data)), 0
    with progress("detecting", count, shown=not as_json) as step:

        def done(images: int) -> None:
            nonlocal seen
            for _ in range(images - seen):
                step()
            seen = images

        job = Job(str(engine_file), data, score, batch, threads, strict)
        try:
            found = predict(job, output, workers=workers, share=share, ray=ray, done=done)
        except KeyboardInterrupt:
            note(f"\ninterrupted: {seen} of {count} images are done and kept; the same command goes on")
            click.get_current_context().exit(130)
    skipped = list(found.skipped)
    for one in skipped[:SHOWN]:
        warn(f"skipped: {one['error']['message']}")
    if skipped[SHOWN:]:
        warn(f"skipped: {len(skipped) - SHOWN} more; --json names all")
    if as_json:
        facts = {"engine": str(engine_file), "data": data, "images": count, "detections": found.rows}
        emit({**facts, "skipped": skipped, "output": str(output)})
    else:
        less = f"; {len(skipped)} skipped" if skipped else ""
        note(f"{found.rows} detections in {count - len(skipped)} images written to {output}{less}")
    click.get_current_context().exit(1 if skipped else 0)
