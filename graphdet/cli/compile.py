"""Compile a detector with weights into an engine, and certify it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphdet.cli._build import Dynamic, Size, build_options, certificate_lines, read_variant, summary, write
from graphdet.cli._images import find_images
from graphdet.cli._output import bytes_text, emit, facts, json_option, note


@click.command()
@click.argument("variant_name", metavar="VARIANT")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights file.  [default: those that the zoo ships]")
@build_options
@click.option("--tta", default="", metavar="VIEWS", help="Look at more views of each image: flip, scales such as 0.8.")
@click.option("--certify/--no-certify", default=True, show_default=True, help="Compare the engine with the reference.")
@click.option("--images", type=click.Path(path_type=Path), help="Image or folder to compare on.  [default: drawn ones]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Engine file to write (.gdet).")
@json_option
def command(
    variant_name: str,
    weights: Path | None,
    target: str,
    size: Size | None,
    batch: int | Dynamic,
    tta: str,
    certify: bool,
    images: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Compile VARIANT into one file that turns pixels into detections.

    The engine is compared with the reference before it is written; when they differ the build fails with the first
    diverging op and its line.

    With --tta (test-time augmentation) the engine runs the network on the image as it is and at each scale named, each
    also mirrored where `flip`, `flip-vertical` or `flip-both` is named, and suppresses the candidates of all together.

    \b
    Example:
      graphdet compile yolox_nano --weights w.safetensors --target openvino --size 416x640 -o x.gdet
      graphdet compile yolox_nano --weights w.safetensors --tta flip,1.25 -o slow.gdet
    """  # noqa: D301
    from graphdet import compiler
    from graphdet.compiler.augment import parse_views
    from graphdet.errors import MissingFile

    if not output.parent.is_dir():  # found before the work, not after it
        raise MissingFile(f"the folder {output.parent} does not exist", help="make it, or choose another place with -o")
    variant, values = read_variant(variant_name, weights)
    options: dict[str, Any] = {"size": size, "batch": batch, "certified": certify, "views": parse_views(tta)}
    if images is not None:
        options["images"] = find_images((images,))
    artefact = compiler.compile(variant, values.tensors, target, **options, progress=None if as_json else note)
    write(artefact, output)
    count = output.stat().st_size
    if as_json:
        header = artefact.header.as_dict()
        emit(
            {k: header[k] for k in ("detector", "target", "input", "thresholds", "certificate")}
            | {"output": str(output), "bytes": count}
        )
        return
    facts(summary(artefact), title=f"{output} ({bytes_text(count)})")
    if certify:
        facts(certificate_lines(artefact.header.certificate), title="certificate")
