"""The certificate: the engine is run beside the reference, and the build fails where they differ.

The reference is the detector's own inference graph, before any pass, in PyTorch (what was trained) or, without it, by
the NumPy references. Compared are the floating-point values between the plan's steps and the detections; images of a
batch are also run alone. Values whose rows stand in order of score are compared as detections: scores that differ in
the last bit change the order, not the meaning. An engine that differs is followed from value to value: what
rounding decides is no fault (`ties`). What was measured is written into the artefact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from graphdet.compiler.backends.target import Target
from graphdet.compiler.blame import first_divergence, first_leak
from graphdet.compiler.oracle import evaluate, oracle
from graphdet.compiler.passes.partition import Partition
from graphdet.compiler.ties import decisive, follow, probe
from graphdet.errors import BatchLeak, GdError, ParityFailure
from graphdet.eval.parity import Objects, relative_error, unmatched
from graphdet.ir.detector import Variant
from graphdet.ir.graph import Graph, Value
from graphdet.ir.op import NATIVE
from graphdet.ir.source import render
from graphdet.ir.types import FLOATS
from graphdet.records import Array
from graphdet.runtime.engine import Engine
from graphdet.runtime.given import random_inputs
from graphdet.runtime.header import GRAPH_INPUTS, Input
from graphdet.runtime.preprocess import Image, Prepared, prepare

TOLERANCE = 1e-4  # of the largest magnitude of a value
BATCH_TOLERANCE = 2e-5  # another batch size may choose another kernel, with another order of sums
SHAPES = ((375, 500), (333, 250), (480, 640), (200, 300))  # heights and widths of the sample images


@dataclass(frozen=True)
class Subject:
    """All that is needed to judge one build. origins: plan names of values of the reference graph."""

    variant: Variant
    graph: Graph
    params: Mapping[str, Array]
    parts: Partition
    target: Target
    origins: Mapping[Value, str]
    sizes: Mapping[str, int]

    @cached_property
    def named(self) -> dict[str, Value]:
        """Those that cross between steps, by plan name; of several that the plan makes once, the last."""
        crossing = {name for step in self.parts.steps for name in step.outputs}
        return {name: value for value, name in self.origins.items() if name in crossing}

    @cached_property
    def ranked(self) -> set[str]:
        """Plan names of values whose rows stand in order of score: results of selections, and all that follows."""
        found: set[Value] = set()
        for node in self.parts.graph:
            if NATIVE in node.op.traits or any(v in found for v in node.inputs):
                found.update(node.outputs)
        return {self.parts.names[v] for v in found}


@dataclass
class _Measured:
    errors: dict[str, float] = field(default_factory=dict)
    detections: int = 0
    batch_error: float = 0.0
    followed: int = 0

    def copy(self) -> _Measured:
        return replace(self, errors=dict(self.errors))


Fault = Callable[[], GdError]  # makes the error: to find the op at fault takes long


def certify(subject: Subject, engine: Engine, images: Sequence[Image] = ()) -> dict[str, Any]:
    """Measure an engine on images, or on drawn ones.

    Raises ParityFailure naming the first diverging op and its line, BatchLeak when images influence each other.
    """
    measured = _Measured()
    thresholds = {k: v for k, v in engine.header.thresholds.items()}
    if "score_threshold" in thresholds:
        thresholds["score_threshold"] /= 10  # a low gate gives detections to compare, on what is drawn too
    samples = [{**s, **_arrays(thresholds)} for s in _samples(subject, engine, images)]
    for inputs in samples:
        outputs, values = _run(engine, inputs, thresholds)
        several, expected, trial = len(inputs["pixels"]) > 1, reference(subject, inputs), measured.copy()
        fault = (
            (_batch_fault(subject, engine, inputs, thresholds, (outputs, values), trial) if several else None)
            or _value_fault(subject, inputs, values, expected, trial)
            or _detection_fault(subject, inputs, outputs, expected, thresholds, trial)
        )
        measured = _followed(subject, inputs, outputs, values, thresholds, measured, fault) if fault else trial
    return {
        "reference": f"{oracle()} on the unoptimised graph",
        "samples": [list(s["pixels"].shape) for s in samples],
        "tolerance": TOLERANCE,
        "max_error": max(measured.errors.values(), default=0.0),
        "errors": {k: round(v, 9) for k, v in measured.errors.items()},
        "detections_compared": measured.detections,
        "batch_error": measured.batch_error if any(len(s["pixels"]) > 1 for s in samples) else None,
        "followed": measured.followed,
        "dtypes": sorted({v.type.dtype for g in subject.parts.segments.values() for n in g for v in n.outputs}),
    }


def _samples(subject: Subject, engine: Engine, images: Sequence[Image]) -> list[dict[str, Array]]:
    """Prepared batches of images, the first ones again in the last batch; of none, of what is drawn."""
    built, spec = engine.header.input, subject.variant.preprocess
    count = built.batch or 2
    chunks = [[images[i % len(images)] for i in range(k, k + count)] for k in range(0, len(images), count)]
    batches = [prepare(chunk, spec, size=built.size or built.bounds) for chunk in chunks] or _drawn(subject, built)
    prepared = [{"pixels": b.pixels, "size": b.size, "geometry": b.geometry} for b in batches]
    more = [random_inputs(built.given, list(b.shapes), seed) for seed, b in enumerate(batches)]
    return [{**inputs, **given} for inputs, given in zip(prepared, more, strict=True)]


def _drawn(subject: Subject, built: Input) -> list[Prepared]:
    """Synthetic pictures of mixed sizes; for an open input size on two canvases, the bounds where it has them."""
    images = [_image(SHAPES[i % len(SHAPES)], seed=i) for i in range(built.batch or 2)]
    open_to = built.bounds and (built.bounds.least, built.bounds.most)
    canvases = [built.size] if built.size else open_to or (_canvas(subject, 256, 320), _canvas(subject, 320, 192))
    if built.given and len(canvases) == 1:  # all boxes and none, also where an engine takes one image
        canvases = [*canvases, *canvases]
    return [prepare(images, subject.variant.preprocess, size=canvas) for canvas in canvases]


def _canvas(subject: Subject, height: int, width: int) -> tuple[int, int]:
    divisor = subject.variant.preprocess.divisor
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def _image(shape: tuple[int, int], seed: int) -> Array:
    """A synthetic picture: a gradient, overlapping rectangles, noise."""
    rng = np.random.default_rng(seed)
    h, w = shape
    y, x = np.mgrid[0:h, 0:w]
    picture = np.stack([(x * a + y * b) % 256 for a, b in rng.uniform(0.1, 1, (3, 2))], -1)
    for _ in range(12):
        top, left = rng.integers(0, h - 20), rng.integers(0, w - 20)
        picture[top : top + rng.integers(10, h // 2), left : left + rng.integers(10, w // 2)] = rng.uniform(0, 255, 3)
    return np.clip(picture + rng.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)


def _arrays(thresholds: Mapping[str, float]) -> dict[str, Array]:
    return {k: np.asarray(v, np.float32) for k, v in thresholds.items()}


def _run(
    engine: Engine, inputs: Mapping[str, Array], thresholds: Mapping[str, float]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs of the engine, and copies of all values between its steps."""
    values: dict[str, Array] = {}

    def watch(name: str, value: Array) -> None:
        values[name] = np.array(value)

    given = {name: inputs[name] for name in engine.header.input.given}
    pixels, size, geometry = (inputs[name] for name in GRAPH_INPUTS)
    return engine.run(pixels, size, geometry, inputs=given, watch=watch, **thresholds), values


def reference(subject: Subject, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Detections of the unoptimised graph by output name, and its values that the plan holds too, by plan name."""
    wanted = {**{k: v for k, v in subject.named.items() if v.type.dtype in FLOATS}, **subject.graph.outputs}
    return evaluate(replace(subject.graph, outputs=wanted, taps={}), inputs, subject.params)


def _batch_fault(
    subject: Subject,
    engine: Engine,
    inputs: Mapping[str, Array],
    thresholds: Mapping[str, float],
    found: tuple[dict[str, Array], dict[str, Array]],
    measured: _Measured,
) -> Fault | None:
    """The first and last image give the same alone (with a fixed batch: among their copies) as in their batch."""
    outputs, values = found
    count = len(inputs["pixels"])
    named = subject.parts.values()
    for i in (0, count - 1):
        order = [i] * (engine.header.input.batch or 1)
        others, again = _run(engine, {k: v[order] if v.ndim else v for k, v in inputs.items()}, thresholds)
        for name, array in values.items():
            if name in subject.ranked or not array.ndim or len(array) != count or named[name].type.dtype not in FLOATS:
                continue
            error = relative_error(again[name][:1], array[i : i + 1])
            if error > BATCH_TOLERANCE:
                return partial(_leak, subject, inputs, i, order, f"{error:.1e} of the largest value", named[name])
            measured.batch_error = max(measured.batch_error, error)
        if _lost(Objects.of(outputs, i), Objects.of(others, 0), thresholds):
            return partial(_leak, subject, inputs, i, order, "other detections", subject.graph.outputs["boxes"])
    return None


def _leak(
    subject: Subject, inputs: Mapping[str, Array], image: int, order: list[int], amount: str, value: Value
) -> BatchLeak:
    """The failure, with the first op whose numbers for an image depend on the images beside it."""
    opening = _opening(subject, inputs)
    found = (first_leak(g, subject.target, inputs, image, order, BATCH_TOLERANCE) for g in opening)
    node = next(filter(None, found), value.node)
    return BatchLeak(
        f"{subject.variant.name} on {subject.target.name}: image {image} of a batch gives other numbers than alone "
        f"(by {amount}); the first op to differ is {node.name} ({node.scope or 'no scope'})",
        where=render(node.places),
        help="look for an op over axis 0, or a size taken from the whole batch",
    )


def _opening(subject: Subject, inputs: Mapping[str, Array]) -> list[Graph]:
    """Segments that run on graph inputs alone; those of others come from native steps, which were checked before."""
    return [g for g in subject.parts.segments.values() if set(g.inputs) <= set(inputs)]


def _value_fault(
    subject: Subject,
    inputs: Mapping[str, Array],
    values: Mapping[str, Array],
    expected: Mapping[str, Array],
    measured: _Measured,
) -> Fault | None:
    dense = {name for g in subject.parts.segments.values() for name in g.outputs}
    for name in subject.named:
        if name not in dense or name not in expected or name not in values:
            continue
        error = relative_error(values[name], expected[name])
        if error > TOLERANCE and name in subject.ranked:
            continue  # in another order: the detections tell whether they are others
        if error > TOLERANCE:
            what = f"differs from the reference by {error:.1e} of the largest value"
            return partial(_failure, subject, inputs, what, subject.parts.values()[name])
        measured.errors[name] = max(error, measured.errors.get(name, 0.0))
    return None


def _failure(subject: Subject, inputs: Mapping[str, Array], what: str, value: Value) -> ParityFailure:
    """The failure, with the first op that differs when the segments' ops are compared one by one."""
    opening = _opening(subject, inputs)
    found = next(filter(None, (first_divergence(g, subject.target, inputs, TOLERANCE) for g in opening)), None)
    node, blame = value.node, ""
    if found:
        node, error = found
        blame = f"; the first op to differ is {node.name} ({node.scope or 'no scope'}), by {error:.1e}"
    return ParityFailure(
        f"{subject.variant.name} on {subject.target.name}: the engine {what} (allowed: {TOLERANCE:.0e}){blame}",
        where=render(node.places),
        help="the artefact was not written; `graphdet explain` lists the rewrites, "
        "another --target tells whether the backend is at fault",
    )


def _lost(a: Objects, b: Objects, thresholds: Mapping[str, float]) -> list[int]:
    score, iou = thresholds.get("score_threshold", 0.0), thresholds.get("iou_threshold", 1.0)
    return unmatched(a, b, score_threshold=score, iou_threshold=iou)


def _detection_fault(
    subject: Subject,
    inputs: Mapping[str, Array],
    outputs: dict[str, Array],
    expected: Mapping[str, Array],
    thresholds: Mapping[str, float],
    measured: _Measured,
) -> Fault | None:
    for i in range(len(outputs["count"])):
        ours, theirs = Objects.of(outputs, i), Objects.of(dict(expected), i)
        measured.detections += len(theirs.scores)
        for a, b, side in ((theirs, ours, "misses"), (ours, theirs, "adds")):
            lost = _lost(a, b, thresholds)
            if lost:
                k = lost[0]
                box = ", ".join(f"{v:.1f}" for v in a.boxes[k])
                what = (
                    f"{side} {len(lost)} of {len(a.scores)} detections of sample image {i}, "
                    f"first: label {int(a.labels[k])}, score {a.scores[k]:.4f}, box [{box}]"
                )
                return partial(_failure, subject, inputs, what, subject.graph.outputs["boxes"])
    return None


def _followed(
    subject: Subject,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    values: Mapping[str, Array],
    thresholds: Mapping[str, float],
    measured: _Measured,
    fault: Fault,
) -> _Measured:
    """What is measured when each image is followed, alone, through its batch.

    Raises the fault unless the engine decides as it should on its own numbers.
    """
    origins, now = subject.origins, measured.copy()
    wanted = {origins[v] for v in decisive(subject.graph) if v in origins}
    inside = probe(subject.parts, subject.target, inputs, values, wanted)
    if inside is None:
        raise fault()
    watched, count = {**values, **inside}, len(outputs["count"])
    batched = {k for v, k in origins.items() if v.shape and "N" in {s.name for s in v.shape[0].symbols}}
    for i in range(count):
        mine = {k: _part(v, i, count) if k in batched else v for k, v in watched.items()}
        alone = {k: v[i : i + 1] if v.ndim else v for k, v in inputs.items()}
        expected, errors = follow(subject.graph, origins, alone, mine, subject.params)
        theirs = {k: v[i : i + 1] for k, v in outputs.items()}
        differs = max(errors.values(), default=0.0) > TOLERANCE
        if differs or _detection_fault(subject, alone, theirs, expected, thresholds, now):
            raise fault()
        now.errors.update({k: max(error, now.errors.get(k, 0.0)) for k, error in errors.items()})
    now.followed += 1
    return now


def _part(array: Array, image: int, count: int) -> Array:
    rows = len(array) // count
    return array[image * rows : (image + 1) * rows]
