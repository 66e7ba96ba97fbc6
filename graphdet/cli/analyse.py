"""Look into the results of a test: classes, confusions, curves, and the best and worst images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graphdet.cli._output import emit, json_option, make_folder, note, progress, table

if TYPE_CHECKING:
    from graphdet.data import Dataset, Sample
    from graphdet.eval import Breakdown
    from graphdet.records import Detections

    Pairs = list[tuple[Sample, Detections]]


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="The dataset that was tested on; see `graphdet data --help`.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the report.")
@click.option("--overlap", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="IoU of a correct box.")
@click.option("--points", type=click.Choice(["all", "eleven"]), default="all", show_default=True, help="VOC's rule.")
@click.option("--score", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Shown, and in confusions.")
@click.option("--top", type=click.IntRange(0), default=12, show_default=True, help="Best and worst images shown.")
@click.option("--metric", type=click.Choice(["bbox", "segm"]), default="bbox", show_default=True, help="Of the errors.")
@json_option
def command(
    results: Path, data: str, output: Path, overlap: float, points: Any, score: float, top: int, metric: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Write a report on RESULTS, a COCO results file: index.html with pictures, and report.json.

    The analysis of errors gives areas under curves of precision that forgive more and more: C75 and C50, IoU of .75 and
    .5; Loc, IoU of .1; Sim, confusions within a super-category; Oth, with any class; BG, false detections; FN, misses.

    \b
    Example:
      graphdet test x.gdet --data voc:BCCD:test --save found.json
      graphdet analyse found.json --data voc:BCCD:test -o report
    """  # noqa: D301
    import json

    from graphdet.data import parse_data
    from graphdet.draw.curves import plot_areas, plot_lines, plot_matrix
    from graphdet.eval import break_down, confusion_matrix, evaluate_voc
    from graphdet.eval.coco import truth_of
    from graphdet.eval.results import image_scores, read_pairs

    dataset, folder = parse_data(data), make_folder(output)
    pairs = read_pairs(dataset, results)
    plain = [(sample.truth, found) for sample, found in pairs]
    figures = evaluate_voc(plain, dataset.classes, overlap=overlap, points=points)
    matrix = confusion_matrix(plain, len(dataset.classes), score=score, overlap=overlap)
    with progress("error analysis", len(dataset.classes), shown=not as_json) as step:
        errors = break_down(truth_of(dataset, [sample for sample, _ in pairs]), results, metric, step=step)
    report = {**figures.as_dict(), "confusion": matrix.tolist(), "classes": list(dataset.classes)}
    report["errors"] = errors.as_dict()
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    plot_matrix(folder / "confusion.png", matrix, [*dataset.classes, "background"])
    lines = {
        f"{n} {c.ap:.3f}": (c.recall.tolist(), c.precision.tolist()) for n, c in figures.curves.items() if c.ap >= 0
    }
    plot_lines(folder / "precision_recall.png", {"precision": lines}, x="recall")
    recalls = [i / 100 for i in range(101)]
    areas = {f"{n} {errors.figures()[n]:.3f}": (recalls, c.tolist()) for n, c in errors.curves().items()}
    plot_areas(folder / "errors.png", areas, x="recall", y="precision")
    ranked = sorted((s, i) for i, s in enumerate(image_scores(pairs, dataset.classes, overlap)) if s >= 0)
    shown = {"worst": ranked[:top], "best": ranked[::-1][:top]}
    _write_page(folder, dataset, pairs, shown, score)
    if as_json:
        emit(report)
        return
    rows = [
        (
            name,
            c["objects"],
            c["detections"],
            f"{100 * c['recall']:.1f}",
            None if c["ap"] < 0 else f"{100 * c['ap']:.1f}",
        )
        for name, c in report["per_class"].items()
    ]
    table(("class", ">objects", ">detections", ">recall", ">AP"), rows)
    _show_errors(errors)
    click.echo(f"mAP at {overlap:g}: {100 * figures.mean:.1f}")
    note(f"report written to {folder / 'index.html'}")


def _show_errors(errors: Breakdown) -> None:
    """Areas under the curves of each rule, by size and by class."""
    from graphdet.eval.breakdown import RULES, SIZES

    rules = {size: errors.figures(size) for size in SIZES} | errors.per_class()
    rows = [(name, *(None if v < 0 else f"{100 * v:.1f}" for v in f.values())) for name, f in rules.items()]
    table(("area under the curve", *(f">{rule}" for rule in RULES)), rows)


def _write_page(
    folder: Path, dataset: Dataset, pairs: Pairs, shown: dict[str, list[tuple[float, int]]], score: float
) -> None:
    """Pictures of truth beside detections, and the page that holds everything."""
    import cv2
    import numpy as np

    from graphdet.draw.boxes import draw_detections, draw_truth

    parts = ['<img src="precision_recall.png"><img src="errors.png"><img src="confusion.png">']
    for title, ranked in shown.items():
        parts.append(f"<h2>{title} images: annotated left, found right</h2>")
        for value, index in ranked:
            sample, found = pairs[index]
            pixels = sample.pixels()
            both = draw_truth(pixels, sample.truth, dataset.classes), draw_detections(pixels, found, score=score)
            name = f"{title}_{index:06d}.jpg"
            cv2.imwrite(str(folder / name), np.concatenate(both, axis=1))
            parts.append(f'<figure><img src="{name}" loading="lazy"><figcaption>{value:.3f}</figcaption></figure>')
    style = "body{font:14px sans-serif;margin:1em}img{max-width:860px}figure{margin:4px 0}"
    head = f'<!doctype html><meta charset="utf-8"><title>report</title><style>{style}</style>'
    (folder / "index.html").write_text(head + "\n".join(parts), encoding="utf-8")
