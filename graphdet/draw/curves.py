"""Curves as pictures: the course of a run, and precision over recall. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphdet.errors import BackendMissing
from graphdet.records import Array

Points = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # name -> (x, y)


def plot_lines(file: Path, panels: Mapping[str, Points], *, x: str, title: str = "") -> None:
    """Write a picture (by the file's ending) with a panel a name, each with its lines.

    Raises BackendMissing where matplotlib is not installed.
    """
    figure, axes = _figure(len(panels))
    for axis, (name, lines) in zip(axes, panels.items(), strict=True):
        for label, (xs, ys) in lines.items():
            axis.plot(xs, ys, label=label, linewidth=1.2, marker="." if len(xs) < 30 else None)
        axis.set(xlabel=x, ylabel=name)
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(fontsize=8)
    if title:
        figure.suptitle(title)
    figure.savefig(file, dpi=120)


def plot_areas(file: Path, lines: Points, *, x: str, y: str) -> None:
    """Write a picture of curves that lie above one another, the area between each and the one below it filled.

    Raises BackendMissing where matplotlib is not installed.
    """
    figure, (axis,) = _figure(1)
    below: Sequence[float] | float = 0.0
    for i, (label, (xs, ys)) in enumerate(lines.items()):
        axis.fill_between(xs, below, ys, label=label, color=f"C{i}", alpha=0.7, linewidth=0)
        axis.plot(xs, ys, color="black", linewidth=0.6)
        below = ys
    axis.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize=8, loc="lower left")
    figure.savefig(file, dpi=120)


def plot_matrix(file: Path, matrix: Array, names: Sequence[str]) -> None:
    """Write a matrix of counts as a picture: colours are shares of the row, numbers the counts.

    Raises BackendMissing where matplotlib is not installed.
    """
    figure, (axis,) = _figure(1, side=max(4.0, 0.35 * len(names) + 2))
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set(xlabel="detected", ylabel="annotated", xticks=range(len(names)), yticks=range(len(names)))
    axis.set_xticklabels(names, rotation=90, fontsize=7)
    axis.set_yticklabels(names, fontsize=7)
    for (row, column), count in _cells(matrix) if len(names) <= 30 else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, str(int(count)), ha="center", va="center", fontsize=7, color=colour)
    figure.savefig(file, dpi=120)


def _cells(matrix: Array) -> list[tuple[tuple[int, int], float]]:
    return [((i, j), float(matrix[i, j])) for i in range(len(matrix)) for j in range(len(matrix)) if matrix[i, j]]


def _figure(count: int, side: float = 4.0) -> tuple[Any, list[Any]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise BackendMissing("curves need matplotlib", help="pip install matplotlib") from None
    figure = Figure(figsize=(max(side, 1.25 * side if count == 1 else side) * count, side), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, count, i + 1) for i in range(count)]
