"""What `compile`, `explain` and `demo` share: reading sizes and weights, and telling what was built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from graphdet.errors import MissingFile

if TYPE_CHECKING:
    from graphdet.importers import Weights
    from graphdet.ir import Variant
    from graphdet.runtime import Artefact
    from graphdet.runtime.header import Bounds

Dynamic = Literal["dynamic"]
Size: TypeAlias = "tuple[int, int] | Bounds | Dynamic"
TARGETS = ("openvino", "onnxruntime", "onnx", "torch")


def read_size(context: click.Context, parameter: click.Parameter, text: str | None) -> Size | None:
    """`416x640` as (height, width); `416` is a square; `480..800x640..1344` are bounds; `dynamic` stays.

    A click callback: raises BadParameter.
    """
    if text is None or text == "dynamic":
        return "dynamic" if text else None
    ranges = [side.split("..") for side in text.lower().split("x")]
    ends = [end for side in ranges for end in (side[0], side[-1])]
    fits = all(end.isdecimal() and 0 < int(end) <= 1 << 15 for end in ends)
    if len(ranges) > 2 or max(map(len, ranges)) > 2 or not fits:
        raise click.BadParameter(
            f"{text!r} is neither HEIGHTxWIDTH (416x640), nor bounds of them (320..416x320..640), nor `dynamic`"
        )
    least, most = ((int(ranges[0][i]), int(ranges[-1][i])) for i in (0, -1))
    if all(len(side) == 1 for side in ranges):
        return most
    from graphdet.runtime.header import Bounds

    return Bounds(least, most)


def read_batch(context: click.Context, parameter: click.Parameter, text: str) -> int | Dynamic:
    """A positive number, or `dynamic`. A click callback: raises BadParameter."""
    if text == "dynamic":
        return "dynamic"
    if not text.isdecimal() or not 0 < int(text) <= 1 << 12:
        raise click.BadParameter(f"{text!r} is neither a number of images in 1..4096 nor `dynamic`")
    return int(text)


def build_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --target, --size, --batch."""
    target = click.option("--target", type=click.Choice(TARGETS), default="openvino", show_default=True)
    size = click.option(
        "--size",
        callback=read_size,
        metavar="HxW|bounds|dynamic",
        help="Network input in pixels; bounds: 480..800x640..1344.  [default: the variant's test size]",
    )
    batch = click.option(
        "--batch",
        callback=read_batch,
        default="1",
        show_default=True,
        metavar="N|dynamic",
        help="Images the engine takes at once.",
    )
    return target(size(batch(command)))


def read_variant(name: str, path: Path | None) -> tuple[Variant, Weights]:
    """A variant with its weights: from a file, or those that the zoo ships. Class number and names follow the weights.

    Raises UnknownName, MissingFile when neither exists, BadWeights.
    """
    from graphdet import zoo
    from graphdet.importers import read_weights
    from graphdet.importers.detector import variant_of

    variant = zoo.get(name)
    shipped = shipped_weights(name)
    if path is None and not shipped.is_file():
        raise MissingFile(
            f"no weights for {name!r} are shipped",
            help="`graphdet import` makes a weights file; give it with --weights",
        )
    weights = read_weights(path or shipped)
    return variant_of(variant, weights), weights


def shipped_weights(name: str) -> Path:
    """Where the zoo keeps a variant's weights, if it ships any."""
    from graphdet import zoo

    return Path(zoo.__file__).parent / "weights" / f"{name}.safetensors"


def write(artefact: Artefact, path: Path) -> None:
    """Write an artefact. Raises MissingFile when that is impossible."""
    from graphdet.runtime import write_artefact

    try:
        write_artefact(path, artefact)
    except OSError as fault:
        raise MissingFile(f"cannot write {path}: {fault.strerror}", help="choose another place with -o") from None


def summary(artefact: Artefact) -> list[tuple[str, Any]]:
    """What an engine is, as names and values for `facts`."""
    header = artefact.header
    taken = header.input
    size = "x".join(map(str, taken.size)) if taken.size else taken.bounds or "dynamic"
    steps = [step.as_dict() for step in header.plan.steps]
    return [
        ("detector", header.detector),
        ("target", header.target),
        ("input", f"{size}, batch {taken.batch or 'dynamic'}"),
        ("given with images", ", ".join(f"{k} {v.dtype}{list(v.shape)}" for k, v in taken.given.items()) or None),
        ("classes", len(header.classes)),
        ("masks", {"roi": "a grid in each box", "net": "a grid over the input"}.get(header.masks)),
        ("thresholds", ", ".join(f"{k} {v:g}" for k, v in header.thresholds.items())),
        ("plan", " > ".join(s["op"] if s["kind"] == "native" else f"[{s['segment']}]" for s in steps)),
    ]


def certificate_lines(certificate: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A certificate as names and values: nested records become dotted names, long lists a count."""
    lines: list[tuple[str, Any]] = []
    for key, value in certificate.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            lines += certificate_lines(value, f"{name}.")
        elif key == "samples":
            lines.append((name, ", ".join("x".join(map(str, shape)) for shape in value)))
        elif isinstance(value, list) and (len(value) > 6 or any(isinstance(v, dict | list) for v in value)):
            lines.append((name, f"{len(value)} records"))
        else:
            lines.append((name, f"{value:.3g}" if isinstance(value, float) else value))
    return lines
