"""Test-time augmentation: a detector's graph => one graph that looks at an image in several views.

The part of the graph that proposes candidates is repeated for each view, on mirrored or resized pixels and with the
same parameters; the candidates are moved back, joined, and suppressed once, by the detector's own suppression. (So
mmdet merges single-stage detectors; of two stages it averages what the second one says of common proposals.) Masks of
the boxes that are left are computed in each view, mirrored back and averaged, as mmdet does. The result is a graph as
any other: every target runs it, and the certificate compares it.
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
from graphdet.ir.walk import LEAVES, Builder, cone, live, made_sizes, rebuild, resized

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

    Raises NotLowerable for a detector whose candidates cannot be joined: one without suppression, one whose masks are
    not of boxes, or one that is given boxes.
    """
    last, looks = _suppression(graph), [_Look(graph, view) for view in views]
    masks = graph.outputs["masks"].node if "masks" in graph.outputs else None

    def visit(node: Node, builder: Builder) -> None:
        if node is not last and node is not masks:
            _put(node, builder)
            return
        with tracing(graph.name, graph.phase) as opened:
            opened.inputs.update(graph.inputs)
            if node is last:
                found = [look.candidates(last) for look in looks]
                joined = found[0] if len(found) == 1 else [ops.concat(*p, axis=1) for p in zip(*found, strict=True)]
            else:
                grids = [look.grids(node, last, builder) for look in looks]
                joined = grids if len(grids) == 1 else [sum(grids[1:], grids[0]) / float(len(grids))]
        builder.nodes += opened.nodes
        before = _proposed(last) if node is last else [v for v in node.inputs if v]
        builder.now.update(zip(before, joined, strict=True))
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
    if set(graph.outputs) - {"masks"} != {"boxes", "scores", "labels", "count"}:
        reason = "it gives more than boxes and masks, and only those are joined"
    elif "masks" in graph.outputs and graph.outputs["masks"].type.frame != "roi":
        reason = "its masks are not of boxes"
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


class _Look:
    """What the detector sees in a view: its graph once more, part by part, on the view's pixels."""

    def __init__(self, graph: Graph, view: View) -> None:
        self.graph, self.view = graph, view
        self.now: dict[Value, Value] = {}  # a value of the plain view -> the same in this one
        self.sizes: dict[str, Dim] = {}
        self.across: Value | None = None

    def candidates(self, last: Node) -> list[Value]:
        """Boxes, scores and labels that the detector proposes in this view, in pixels of the plain one."""
        wanted = _proposed(last)
        if self.view == PLAIN:
            return wanted
        height, width = (d.symbol_alone for d in self.graph.inputs["pixels"].shape[2:])
        if not height or not width:
            raise InternalError(f"{self.graph.name} is bound to a size already; views come before")
        image = Image(height.multiple)
        pixels = image.pixels
        for axis in self.view.axes:
            pixels = ops.mirror(pixels, image.size, axis=axis)
        if self.view.scale != 1:
            self.sizes = {side.name: _scaled(side, self.view.scale) for side in (height, width)}
            pixels = ops.resize(pixels, height=self.sizes[height.name], width=self.sizes[width.name])
            across = ops.map_size(pixels) / ops.map_size(image.pixels)  # (x, y): each side is rounded by itself
            self.now[image.size] = image.size * ops.concat(across[1:2], across[0:1], axis=0)
            self.across = ops.concat(across, across, axis=0)
        self.now[image.pixels] = pixels
        boxes, *said = self._repeat(wanted)
        if self.across is not None:
            boxes = ops.as_boxes(boxes / self.across, format="xyxy", frame="net")
        for axis in self.view.axes:
            boxes = ops.mirror_boxes(boxes, image.size, axis=axis)
        return [boxes, *said]

    def grids(self, masks: Node, last: Node, builder: Builder) -> Value:
        """What the detector says of the cells of detections in this view, f32[N K h w], mirrored back."""
        wanted = masks.inputs[0]
        if wanted is None:
            raise InternalError(f"{masks.name} makes masks of nothing")
        if self.view == PLAIN:
            return builder.get(wanted)
        # The rows that hold the detections are the same in each view: a size that depends on data is made once.
        shared = [last, *(n for n in self.graph.nodes if made_sizes(n) and last in cone(n.outputs))]
        self.now.update({v: self._moved(builder.get(v)) for n in shared for v in n.outputs})
        (grids,) = self._repeat([wanted])
        cells = ops.map_size(grids)
        whole = self.graph.inputs["size"] * 0.0 + ops.concat(cells[1:2], cells[0:1], axis=0)
        for axis in self.view.axes:
            grids = ops.mirror(grids, whole, axis=axis)
        return grids

    def _moved(self, value: Value) -> Value:
        """What is known of detections, in this view: their boxes are elsewhere, the rest is the same."""
        if value.type.meaning != "boxes<xyxy,net>":
            return value
        for axis in self.view.axes:
            value = ops.mirror_boxes(value, self.graph.inputs["size"], axis=axis)
        return value if self.across is None else ops.as_boxes(value * self.across, format="xyxy", frame="net")

    def _repeat(self, wanted: list[Value]) -> list[Value]:
        """The part of the graph that computes values, once more in the open trace, where it was not yet."""
        needed = cone(wanted)
        for node in self.graph.nodes:
            if node in needed and node.name not in LEAVES and node.outputs[0] not in self.now:
                inputs = tuple(v and self.now.get(v, v) for v in node.inputs)
                made = resized(node, inputs, self.sizes)
                current().add(made)
                self.now.update(zip(node.outputs, made.outputs, strict=True))
        return [self.now[v] for v in wanted]


def _scaled(side: Symbol, scale: Fraction) -> Dim:
    """A side of the input times a factor, as the nearest multiple of what the network divides by."""
    units = Dim.symbol(side.name, side.multiple) / side.multiple
    return (units * (2 * scale.numerator) + scale.denominator) // (2 * scale.denominator) * side.multiple
