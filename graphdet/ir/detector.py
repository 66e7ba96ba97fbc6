"""What a detector is: a function from an `Image` to a `Detector`, with a table of variants; and how it is traced."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from graphdet.errors import BadDetector, PhaseLeak, UnknownName, nearest
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Graph, Value
from graphdet.ir.op import TRAIN
from graphdet.ir.source import place_of, render
from graphdet.ir.trace import Trace, current, graph_input, mark_train_only, tracing
from graphdet.ir.types import Type, boxes, tensor
from graphdet.ir.walk import live
from graphdet.records import Preprocess

Losses = Mapping[str, Value | Sequence[Value]]
OrderKey = Callable[[str], tuple[object, ...]]


class TruthValues:
    """Truth of a batch: boxes<xyxy,net> f32[N G 4], labels i64[N G], count i64[N]; rows past count are padding."""

    def __init__(self, pixels: Value) -> None:
        self._of = pixels.dim(0), Dim.symbol("G"), pixels.dim(2), pixels.dim(3)
        self.boxes = mark_train_only(graph_input("truth.boxes", boxes("net", *self._of[:2], 4)))
        self.labels = mark_train_only(graph_input("truth.labels", tensor("i64", *self._of[:2])))
        self.count = mark_train_only(graph_input("truth.count", tensor("i64", self._of[0])))

    @cached_property
    def masks(self) -> Value:
        """masks<net> u8[N G H W]: the bitmap of each object over the padded network input, 0 and 1."""
        return mark_train_only(graph_input("truth.masks", Type("u8", self._of, "masks", frame="net")))

    @cached_property
    def crowds(self) -> tuple[Value, Value]:
        """boxes<xyxy,net> f32[N crowds 4] of regions of objects that are not told apart, and their number i64[N]."""
        batch, most = self._of[0], Dim.symbol("crowds")
        regions = mark_train_only(graph_input("truth.crowds", boxes("net", batch, most, 4)))
        return regions, mark_train_only(graph_input("truth.crowd_count", tensor("i64", batch)))


class Image:
    """The inputs of a detector.

    pixels: f32[N 3 H W], normalised and padded · size: f32[N 2], unpadded (height, width) in net pixels · geometry:
    f32[N 4], (scale_x, scale_y, offset_x, offset_y) with net = image * scale + offset · truth: only for losses.
    """

    def __init__(self, divisor: int) -> None:
        self.batch = Dim.symbol("N")
        height, width = Dim.symbol("H", divisor), Dim.symbol("W", divisor)
        self.pixels = graph_input("pixels", tensor("f32", self.batch, 3, height, width), places=())
        self.size = graph_input("size", tensor("f32", self.batch, 2), places=())
        self.geometry = graph_input("geometry", tensor("f32", self.batch, 4), places=())

    @cached_property
    def padded(self) -> Value:
        """f32[N 2], the (height, width) up to which priors of each image learn: its size, padded by itself alone.

        A value computed from it may flow only into losses.
        """
        return mark_train_only(graph_input("padded", tensor("f32", self.batch, 2), places=()))

    @cached_property
    def sampling_seed(self) -> Value:
        """f32[], a whole number that random samplers draw by: the training step's number; 0 (default) draws first ones.

        A value computed from it may flow only into losses.
        """
        return mark_train_only(graph_input("sampling_seed", tensor("f32"), default=0.0, places=()))

    @cached_property
    def truth(self) -> TruthValues:
        """Ground truth; a value computed from it may flow only into losses."""
        return TruthValues(self.pixels)


@dataclass(frozen=True)
class Found:
    """Detections of a padded batch: boxes f32[N K 4], scores f32[N K], labels i64[N K], count i64[N].

    masks: where the detector predicts them, f32[N K P Q], one grid an object: `masks<roi>` spans its box, `masks<net>`
    the network input. Fewer rows than K are enough if none of an image's objects is left out.
    """

    boxes: Value
    scores: Value
    labels: Value
    count: Value
    masks: Value | None = None

    def values(self) -> dict[str, Value]:
        """The outputs by name; `masks` only where there are any."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


@dataclass(frozen=True)
class Segments:
    """What each of Q queries says of one segment, of which a panoptic map is fused at the size of the image.

    scores: f32[N Q], 0..1, of its class · labels: i64[N Q] · things: i64[N Q], 1 where the class is of things, 0 of
    stuff · logits: f32[N Q R C], its mask over the padded network input, positive inside.
    """

    scores: Value
    labels: Value
    things: Value
    logits: Value

    def values(self) -> dict[str, Value]:
        """The outputs by name."""
        return {f"segment_{f.name}": getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Detector:
    """What a detector function returns.

    A loss may be a list (one value a level); training minimises the sum of `losses`.

    `late_losses` join when the recipe's last epochs switch them on (YOLOX's L1 term). `segments`: of a panoptic
    detector, beside the detections of its things.
    """

    detections: Found
    losses: Losses
    late_losses: Losses = field(default_factory=dict)
    segments: Segments | None = None

    def outputs(self) -> dict[str, Value]:
        """What inference gives, by name."""
        return {**self.detections.values(), **(self.segments.values() if self.segments else {})}


@dataclass(frozen=True)
class Row:
    """One line of a VARIANTS table: arguments of the detector function, and what is known of it.

    ap: box AP on COCO val that the reference reports · upstream: the reference's configuration of the same network.
    """

    arguments: Mapping[str, Any]
    preprocess: Preprocess
    ap: float | None = None
    upstream: str = ""
    classes: tuple[str, ...] = ()


def row(
    preprocess: Preprocess,
    *,
    ap: float | None = None,
    upstream: str = "",
    classes: tuple[str, ...] = (),
    **arguments: Any,
) -> Row:
    """A line of a VARIANTS table."""
    return Row(arguments, preprocess, ap, upstream, classes)


@dataclass(frozen=True)
class Variant:
    """A named detector that can be traced: `retinanet_r50`."""

    name: str
    function: Callable[..., Detector]
    row: Row
    export_order: OrderKey | None = None

    @property
    def preprocess(self) -> Preprocess:
        """How images become network inputs."""
        return self.row.preprocess

    @property
    def paper(self) -> str:
        """The first line of the detector file's docstring."""
        return (inspect.getdoc(inspect.getmodule(self.function)) or "").split("\n")[0]

    def with_arguments(self, **arguments: Any) -> Variant:
        """The same detector with other arguments (`classes=3`). Raises BadDetector for an unknown one."""
        accepted = [p.name for p in inspect.signature(self.function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for name in arguments:
            if name not in accepted:
                raise BadDetector(
                    f"{self.name} has no argument {name!r}; it has {', '.join(accepted)}", help=nearest(name, accepted)
                )
        changed = Row(
            {**self.row.arguments, **arguments}, self.row.preprocess, self.row.ap, self.row.upstream, self.row.classes
        )
        return Variant(self.name, self.function, changed, self.export_order)


class DetectorFunction:
    """A decorated detector: calling it traces nothing by itself; `variants` holds its rows by name."""

    def __init__(
        self, function: Callable[..., Detector], rows: Mapping[str, Row], export_order: OrderKey | None
    ) -> None:
        self.function, self.__doc__, self.__name__ = function, function.__doc__, function.__name__
        self.__module__ = function.__module__
        for name, r in rows.items():
            _check_row(function, name, r)
        self.variants = {name: Variant(name, function, r, export_order) for name, r in rows.items()}

    def __call__(self, image: Image, **arguments: Any) -> Detector:
        return self.function(image, **arguments)


def detector(
    rows: Mapping[str, Row], *, export_order: OrderKey | None = None
) -> Callable[[Callable[..., Detector]], DetectorFunction]:
    """Declare a detector with its variants. Raises BadDetector for a row whose arguments the function does not take.

    export_order: sort key of parameter prefixes that gives the order of convolutions in upstream ONNX exports, where
    that differs from the order of execution.
    """
    return lambda function: DetectorFunction(function, rows, export_order)


def _check_row(function: Callable[..., Detector], name: str, r: Row) -> None:
    accepted = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = [a for a in r.arguments if a not in accepted]
    try:
        inspect.signature(function).bind(None, **r.arguments)
    except TypeError as error:
        fault = f"has no argument {unknown[0]!r}" if unknown else str(error)
        raise BadDetector(
            f"{function.__name__}: row {name!r} does not fit: {fault}; "
            f"the arguments are {', '.join(accepted) or 'none'}",
            where=render(place_of(function)),
            help=nearest(unknown[0], accepted) if unknown else "",
        ) from None


def trace(variant: Variant, phase: str = "infer") -> Graph:
    """Trace a detector. `infer` gives the detector's outputs; `train` gives one output a loss term.

    Raises PhaseLeak when train-only values reach the detections, BadDetector when the function returns something else.
    """
    return trace_phases(variant, phase)[0]


def trace_phases(variant: Variant, phase: str = "infer") -> tuple[Graph, int]:
    """As `trace`, and how many nodes were declared inside a `by_phase`: the other phase has another form of them."""
    with tracing(variant.name, phase) as opened:
        result = _declare(variant)
        found = result.outputs()
        _check_leaks(opened, opened.graph(found))
        losses = {**flat_losses(result.losses), **flat_losses(result.late_losses)}
        graph = opened.graph(found if phase == "infer" else losses)
        return live(graph, keep_params=True), len(opened.phase_nodes)


def late_losses(variant: Variant) -> frozenset[str]:
    """Names of the outputs of the train graph that join the minimised sum only in the last part of training."""
    with tracing(variant.name, "train"):
        return frozenset(flat_losses(_declare(variant).late_losses))


def _declare(variant: Variant) -> Detector:
    """Call a detector function in the open trace."""
    result = variant.function(Image(variant.preprocess.divisor), **variant.row.arguments)
    if not isinstance(result, Detector):
        raise BadDetector(
            f"{variant.name} returned a {type(result).__name__}, expected a Detector",
            where=render(place_of(variant.function)),
            help="return Detector(detections=Found(boxes, scores, labels, count), losses={...})",
        )
    return result


def flat_losses(losses: Losses) -> dict[str, Value]:
    """Loss terms by name; the i-th of a list gets the name `loss_cls.i`."""
    flat: dict[str, Value] = {}
    for name, terms in losses.items():
        if isinstance(terms, Value):
            flat[name] = terms
        else:
            flat.update({f"{name}.{i}": term for i, term in enumerate(terms)})
    return flat


def _check_leaks(opened: Trace, graph: Graph) -> None:
    tainted = set(opened.train_only)
    for node in graph.nodes:
        if (TRAIN in node.op.traits and node not in opened.phase_nodes) or any(
            v in tainted for v in node.inputs if v is not None
        ):
            tainted.update(node.outputs)
    for name, value in graph.outputs.items():
        if value in tainted:
            origin, leak = _leak(value, tainted)
            label = origin.node.attributes.get("name", origin.node.name)
            raise PhaseLeak(
                f"detections.{name} depends on {label!r}, which exists in training only",
                where=f"{render(leak.node.places)}\n  {label!r} comes from\n{render(origin.node.places)}",
                help="ground truth, assignments and losses may flow only into losses; "
                "by_phase(...) tells the phases apart",
            )


def _leak(value: Value, tainted: set[Value]) -> tuple[Value, Value]:
    """The train-only value that a detection depends on, and the first value of an ordinary op made from it."""
    leak = value
    while True:
        before = next((v for v in value.node.inputs if v is not None and v in tainted), None)
        if before is None:
            return value, leak
        if TRAIN not in value.node.op.traits:
            leak = value
        value = before


def find_variant(variants: Mapping[str, Variant], name: str) -> Variant:
    """A variant by name. Raises UnknownName with the nearest known one."""
    if name not in variants:
        raise UnknownName(f"unknown detector {name!r}", help=nearest(name, variants) or "`graphdet zoo` lists them")
    return variants[name]


__all__ = [
    "Detector",
    "Found",
    "Image",
    "Row",
    "Segments",
    "TruthValues",
    "Variant",
    "current",
    "detector",
    "row",
    "trace",
]
