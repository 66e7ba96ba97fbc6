"""Compile a small shipped detector and run it on a drawn scene."""

from __future__ import annotations

import json
from pathlib import Path

import click

from graphdet.cli._build import TARGETS, certificate_lines, read_variant, summary, write
from graphdet.cli._output import detections_table, emit, facts, json_option, make_folder, note, write_text

DETECTOR = "yolox_scenes"


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder for the results."
)
@click.option("--target", default="openvino", show_default=True, type=click.Choice(TARGETS))
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Which scene is drawn.")
@click.option(
    "--score", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Leave out detections below it."
)
@json_option
def command(out: Path, target: str, seed: int, score: float, as_json: bool) -> None:
    """Weights to boxes in one step, without a download: writes x.gdet, input.png, detections.png, detections.json.

    \b
    Example:
      graphdet demo --out demo
    """  # noqa: D301
    import cv2
    import numpy as np

    from graphdet import compiler
    from graphdet.data import scene
    from graphdet.draw import draw_detections
    from graphdet.runtime import load

    variant, weights = read_variant(DETECTOR, None)
    make_folder(out)
    write(compiler.compile(variant, weights.tensors, target, progress=None if as_json else note), out / "x.gdet")
    engine = load(out / "x.gdet")
    pixels, _ = scene(np.random.default_rng(seed), variant.preprocess.size)
    found = engine(pixels, score=score)[0].above(score)
    for name, picture in (("input.png", pixels), ("detections.png", draw_detections(pixels, found, score=score))):
        (out / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    write_text(out / "detections.json", json.dumps(found.as_dict(), indent=1) + "\n")
    artefact = engine.artefact
    if as_json:
        emit({"out": str(out), "detections": found.as_dict(), "certificate": artefact.header.certificate})
        return
    facts(summary(artefact), title=str(out / "x.gdet"))
    facts(certificate_lines(artefact.header.certificate), title="certificate")
    detections_table(found, f"{out / 'detections.png'}: {len(found)} objects")
