"""Score an engine on a dataset, or what one found: COCO's average precision of boxes and masks; panoptic quality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphdet.cli._output import emit, facts, json_option, note, table
from graphdet.cli._proposals import proposals_option, read_proposals

if TYPE_CHECKING:
    from graphdet.eval import CocoResult, PanopticResult

SHOWN = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")


@click.command()
@click.argument("engine_file", metavar="ENGINE", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, help="coco:IMAGE_DIR:ANNOTATIONS.json, panoptic:..., or scenes:COUNT[:SEED[:HxW]]."
)
@click.option("--limit", type=click.IntRange(0), help="Only the first so many images.")
@click.option(
    "--batch", type=click.IntRange(1, 4096), default=1, show_default=True, help="Images in one call of the engine."
)
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(["bbox", "segm", "proposal", "lvis", "lvis-segm", "panoptic"]),
    multiple=True,
    help="Repeat for several; panoptic is for results files.  [default: bbox, and segm for a detector with masks]",
)
@click.option("--corruptions", metavar="NAMES", help="Also on corrupted images: benchmark, noise, blur, fog, ...")
@click.option("--severities", default="1,2,3,4,5", show_default=True, help="Of the corruptions, 1 to 5.")
@click.option("--per-class", is_flag=True, help="Also print the AP of each class.")
@proposals_option
@click.option("--save", type=click.Path(path_type=Path), help="Write COCO results: x.json, x.segm.json, ...")
@json_option
def command(
    engine_file: Path, data: str, limit: int | None, batch: int, metrics: tuple[str, ...], corruptions: str | None,
    severities: str, per_class: bool, proposals: Path | None, save: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run ENGINE (.gdet) over a dataset and print AP, AP50, AP75, APs, APm, APl in percent.

    ENGINE may also be a COCO results file (.json), which is scored by one metric against a dataset of coco:. Panoptic
    results, with their PNGs in the folder of the same name, are scored against one of panoptic: and give PQ, SQ, RQ.

    Of data joined by ` & ` the figures of each part follow those of all as one: 0_AP, ..., 1_AP, ...

    With --corruptions the images are also corrupted (by the package imagecorruptions) in each way and severity: mPC is
    the mean over all, rPC that mean over the figure on clean images. Groups: benchmark, noise, blur, weather, digital,
    holdout, all.

    \b
    Example:
      graphdet test x.gdet --data coco:val2017:instances_val2017.json --limit 500 --save found.json
      graphdet test rpn.gdet --data coco:val2017:instances_val2017.json --metric proposal --save rpn.json
      graphdet test fast_rcnn.gdet --data coco:val2017:instances_val2017.json --proposals rpn.proposal.json
      graphdet test found.segm.json --data coco:val2017:instances_val2017.json --metric segm
      graphdet test found.json --data panoptic:val2017:panoptic_val2017.json --metric panoptic --per-class
    """  # noqa: D301
    from graphdet.errors import MissingFile

    if save is not None and not save.parent.is_dir():  # found before the work, not after it
        raise MissingFile(
            f"the folder {save.parent} does not exist", help="make it, or choose another place with --save"
        )
    if "panoptic" in metrics:
        show_panoptic(panoptic_of(engine_file, data, metrics), engine_file, data, per_class=per_class, as_json=as_json)
        return
    if corruptions is not None:
        limits = {"limit": limit, "batch": batch, "metrics": metrics or None, "progress": False if as_json else None}
        show_robustness(engine_file, data, corruptions, severities, limits, as_json=as_json)
        return
    if engine_file.suffix == ".json":
        result = rescored(engine_file, data, metrics)
    else:
        result = scored(
            engine_file, data, metrics, limit=limit, batch=batch, quiet=as_json, save=save, proposals=proposals
        )
    code = 0 if result.complete else 130
    if as_json:
        emit({"engine": str(engine_file), "data": data, **result.as_dict()})
        click.get_current_context().exit(code)
    print_figures(result.figures())
    if per_class:
        table(("class", ">AP"), [(c, percent(v)) for c, v in result.per_class.items()])
    facts([("recall", _recalls(result.figures())), ("images", result.images), ("detections", result.detections)])
    for name, figures in result.also.items():
        click.secho(name, bold=True)
        print_figures(figures)
        facts([("recall", _recalls(figures))])
    for i, part in enumerate(result.parts):
        print_figures(part.figures(), f"{i}_")
        facts([(f"{i}_images", part.images), (f"{i}_detections", part.detections)])
    if save is not None:
        written = [save, *(save.with_suffix(f".{m}.json") for m in result.also if m in ("segm", "proposal"))]
        note(f"detections written to {', '.join(map(str, written))}")
    click.get_current_context().exit(code)


def scored(
    engine_file: Path, data: str, metrics: tuple[str, ...], *, limit: int | None, batch: int, quiet: bool,
    save: Path | None, proposals: Path | None,
) -> CocoResult:  # fmt: skip
    """Run an engine and score it."""
    from graphdet.data import parse_data
    from graphdet.eval import evaluate
    from graphdet.runtime import load

    dataset, engine, boxes = parse_data(data), load(engine_file), read_proposals(proposals)
    given = None if boxes is None else lambda sample: boxes.of(sample.id)
    return evaluate(
        engine, dataset, batch=batch, limit=limit, progress=False if quiet else None, results=save,
        metrics=metrics or None, proposals=given,
    )  # fmt: skip


def rescored(results: Path, data: str, metrics: tuple[str, ...]) -> CocoResult:
    """Score a results file. Raises BadInput unless there are one metric and a dataset with an annotation file."""
    from graphdet.data import CocoDetection, parse_data
    from graphdet.errors import BadInput
    from graphdet.eval import evaluate_results

    dataset = parse_data(data)
    if not isinstance(dataset, CocoDetection) or len(metrics) > 1:
        raise BadInput("a results file is scored by one --metric, against --data coco:IMAGE_DIR:ANNOTATIONS.json")
    return evaluate_results(dataset.file, results, *metrics or ("bbox",))


def panoptic_of(results: Path, data: str, metrics: tuple[str, ...]) -> PanopticResult:
    """Score a panoptic results file. Raises BadInput for an engine, other metrics beside, or another form of data."""
    from graphdet.data import CocoPanoptic, parse_data
    from graphdet.errors import BadInput
    from graphdet.eval import evaluate_panoptic

    dataset = parse_data(data)
    if results.suffix != ".json" or not isinstance(dataset, CocoPanoptic) or len(metrics) > 1:
        raise BadInput(
            "--metric panoptic, alone, scores a results file (.json) against --data panoptic:IMAGE_DIR:ANNOTATIONS.json"
        )
    return evaluate_panoptic(dataset.segments, results)


def show_panoptic(result: PanopticResult, results: Path, data: str, *, per_class: bool, as_json: bool) -> None:
    """Print panoptic quality in percent, or as JSON in 0..1."""
    if as_json:
        emit({"results": str(results), "data": data, **result.as_dict()})
        return
    columns = ("PQ", "SQ", "RQ")
    rows = [(group, *map(percent, figures.values())) for group, figures in result.figures().items()]
    table(("", *(f">{c}" for c in columns)), rows)
    if per_class:
        found = [(name, *map(percent, quality.figures.values())) for name, quality in result.per_class.items()]
        table(("class", *(f">{c}" for c in columns)), found)
    facts([("images", result.images)])


def show_robustness(
    engine_file: Path, data: str, corruptions: str, severities: str, options: dict[str, Any], *, as_json: bool
) -> None:
    """Score an engine on clean and corrupted images. Exit code 130 when that was interrupted."""
    from graphdet.data import parse_data
    from graphdet.errors import BadInput
    from graphdet.eval import evaluate_corrupted
    from graphdet.eval.robust import parse_corruptions
    from graphdet.runtime import load

    try:
        degrees = [int(word) for word in severities.split(",")]
    except ValueError:
        raise BadInput(f"--severities {severities!r}", help="write 1,3,5") from None
    names = parse_corruptions(corruptions)
    result = evaluate_corrupted(load(engine_file), parse_data(data), names, degrees, **options)
    if as_json:
        emit({"engine": str(engine_file), "data": data, **result.as_dict()})
    else:
        for metric in ("bbox", *result.clean.also):
            clean = result.clean.figures() if metric == "bbox" else result.clean.also[metric]
            rows = {"clean": clean, **{name: result.figures(name, metric) for name in result.corrupted}}
            rows |= {"mPC": result.mean(metric), "rPC": result.relative(metric)}
            shown = [name for name in SHOWN if name in clean]
            cells = [(name, *(percent(f.get(k, -1)) for k in shown)) for name, f in rows.items()]
            table((metric, *(f">{name}" for name in shown)), cells)
    click.get_current_context().exit(0 if result.complete else 130)


def percent(figure: float) -> str | None:
    """A figure of 0..1 in percent; None for -1, where there was nothing to score."""
    return None if figure < 0 else f"{100 * figure:.1f}"


def print_figures(figures: dict[str, float], prefix: str = "") -> None:
    """Precision, one figure a line, in percent."""
    for name in SHOWN:
        if name in figures:
            click.echo(f"{prefix + name:<5} {percent(figures[name]) or '-':>6}")


def _recalls(figures: dict[str, float]) -> str:
    return ", ".join(f"{k} {percent(v) or '-'}" for k, v in figures.items() if k not in SHOWN)
