"""Test-time augmentation: a detector's graph => one graph that looks at an image in several views.

The part of the graph that proposes candidates is repeated for each view, on mirrored or resized pixels and with the
same parameters; the candidates are moved back, joined, and suppressed once, by the detector's own suppression. (So
mmdet merges single-stage detectors; of two stages it averages what the second one says of common proposals.) The result
is a graph as any other: every target runs it, and the certificate compares it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from graphdet import ops
from graphdet.errors import BadInput, InternalError, NotLowerable
from graphdet.ir.detector import Image
from graphdet.ir.dims import Dim, Symbol
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.source import render
from graphdet.ir.trace import current, tracing
from graphdet.ir.walk import Builder, cone, live, rebuild, resized

LEAVES = ("input", "param", "const")
FLIPS: Mapping[str, tuple[str, ...]] = {
    "": (),
    "flip": ("horizontal",),
    "flip-vertical": ("vertical",),
    "flip-both": ("horizontal", "vertical"),
}
SCALES = Fraction(1, 2), Fraction(4)


@dataclass(frozen=True)
class View:
    """One way to look at an image: mirrored along axes, then resized by a factor, each side to what the net divides by.

    Raises BadInput for a factor outside of 0.5 .. 4.
    """

    scale: Fraction = Fraction(1)
    axes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not SCALES[0] <= self.scale <= SCALES[1]:
            raise BadInput(f"a view at scale {float(self.scale):g}; scales are 0.5 .. 4")

    def __str__(self) -> str:
        flip = next(name for name, axes in FLIPS.items() if axes == self.axes)
        return f"{float(self.scale):g} {flip}".strip()


PLAIN = View()


def parse_views(text: str) -> tuple[View, ...]:
    """`flip,0.8,1.2`: the image as it is and at each scale, all of them also mirrored by each flip that is named.

    Raises BadInput for anything else.
    """
    scales, flips = [Fraction(1)], [""]
    for word in filter(None, (w.strip() for w in text.split(","))):
        if word in FLIPS:
            flips.append(word)
            continue
        try:
            scales.append(Fraction(word).limit_denominator(100))
        except (ValueError, ZeroDivisionError):
            known = ", ".join(filter(None, FLIPS))
            raise BadInput(
                f"{word!r} is no view of an image", help=f"known are {known}, and scales such as 0.8"
            ) from None
    return tuple(dict.fromkeys(View(scale, FLIPS[flip]) for flip in flips for scale in scales))


def augment(graph: Graph, views: Sequence[View]) -> Graph:
    """The inference graph of a detector over several views of each image.

    Raises NotLowerable for a detector whose candidates cannot be joined: one without suppression, one with masks, or
    one that is given boxes.
    """
    last = _suppression(graph)

    def visit(node: Node, builder: Builder) -> None:
        if node is not last:
            _put(node, builder)
            return
        with tracing(graph.name, graph.phase) as opened:
            opened.inputs.update(graph.inputs)
            found = [_candidates(graph, node, view) for view in views]
            joined = found[0] if len(found) == 1 else [ops.concat(*part, axis=1) for part in zip(*found, strict=True)]
        builder.nodes += opened.nodes
        builder.now.update(zip(_proposed(node), joined, strict=True))
        _put(node, builder)

    return live(rebuild(graph, visit), keep_params=True)


def _put(node: Node, builder: Builder) -> None:
    """Copy a node over; after the suppression sizes may be others."""
    types = tuple(None if v is None else builder.get(v).type for v in node.inputs)
    changed = types != tuple(None if v is None else v.type for v in node.inputs)
    builder.put(node, node.op.infer_types(types, node.attributes, places=node.places) if changed else None)


def _suppression(graph: Graph) -> Node:
    """The node that makes detections of candidates."""
    last, reason = graph.outputs["count"].node, ""
    if set(graph.outputs) != {"boxes", "scores", "labels", "count"}:
        reason = "it gives more than boxes, and only those are joined"
    elif last.op.operands[:3] != ("boxes", "scores", "labels"):
        reason = "its detections do not come from a suppression that could see those of all views"
    else:
        given = (n for n in cone(_proposed(last)) if n.name == "input")
        others = {n.attributes["name"] for n in given if n.attributes["default"] is None} - {"pixels", "size"}
        if others:
            reason = f"its candidates depend on {', '.join(sorted(others))}"
    if reason:
        raise NotLowerable(
            f"{graph.name} cannot look at several views: {reason}",
            where=render(last.places),
            help="compile it for the plain image alone",
        )
    return last


def _proposed(last: Node) -> list[Value]:
    """The boxes, scores and labels that a suppression is given."""
    return [v for v in last.inputs[:3] if v]


def _candidates(graph: Graph, last: Node, view: View) -> list[Value]:
    """Boxes, scores and labels that the detector proposes in a view, in pixels of the plain one."""
    wanted = _proposed(last)
    if view == PLAIN:
        return wanted
    height, width = (d.symbol_alone for d in graph.inputs["pixels"].shape[2:])
    if not height or not width:
        raise InternalError(f"{graph.name} is bound to a size already; views come before")
    image = Image(height.multiple)
    pixels, size = image.pixels, image.size
    for axis in view.axes:
        pixels = ops.mirror(pixels, size, axis=axis)
    if view.scale == 1:
        boxes, *said = _repeat(graph, wanted, {image.pixels: pixels}, {})
    else:
        sizes = {side.name: _scaled(side, view.scale) for side in (height, width)}
        pixels = ops.resize(pixels, height=sizes[height.name], width=sizes[width.name])
        across = ops.map_size(pixels) / ops.map_size(image.pixels)  # (x, y): each side is rounded by itself
        size = size * ops.concat(across[1:2], across[0:1], axis=0)
        boxes, *said = _repeat(graph, wanted, {image.pixels: pixels, image.size: size}, sizes)
        boxes = ops.as_boxes(boxes / ops.concat(across, across, axis=0), format="xyxy", frame="net")
    for axis in view.axes:
        boxes = ops.mirror_boxes(boxes, image.size, axis=axis)
    return [boxes, *said]


def _scaled(side: Symbol, scale: Fraction) -> Dim:
    """A side of the input times a factor, as the nearest multiple of what the network divides by."""
    units = Dim.symbol(side.name, side.multiple) / side.multiple
    return (units * (2 * scale.numerator) + scale.denominator) // (2 * scale.denominator) * side.multiple


def _repeat(graph: Graph, wanted: list[Value], now: dict[Value, Value], sizes: Mapping[str, Dim]) -> list[Value]:
    """The part of the graph that computes values, once more in the open trace: on other inputs, of other sizes."""
    needed = cone(wanted)
    for node in graph.nodes:
        if node in needed and node.name not in LEAVES:
            inputs = tuple(v and now.get(v, v) for v in node.inputs)
            made = resized(node, inputs, sizes)
            current().add(made)
            now.update(zip(node.outputs, made.outputs, strict=True))
    return [now[v] for v in wanted]
