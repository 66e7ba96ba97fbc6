"""The certificate: the engine is run beside the reference, and the build fails where they differ.

The reference is the detector's own inference graph, before any pass, in PyTorch (what was trained) or, without it, by the NumPy
references. Compared are every floating-point value between the plan's steps and the detections; images of a batch are also run
alone. What was measured is written into the artefact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from graphdet.compiler.backends.numpy import execute
from graphdet.compiler.backends.target import Target
from graphdet.compiler.passes.partition import Partition
from graphdet.errors import BatchLeak, ParityFailure
from graphdet.eval.parity import Objects, relative_error, unmatched
from graphdet.ir.detector import Variant
from graphdet.ir.graph import Graph, Node, Value
from graphdet.ir.source import render
from graphdet.ir.types import FLOATS
from graphdet.records import Array
from graphdet.runtime.adapters import open_segment
from graphdet.runtime.engine import Engine
from graphdet.runtime.preprocess import prepare

TOLERANCE = 1e-4  # of the largest magnitude of a value
BATCH_TOLERANCE = 2e-5  # another batch size may choose another kernel, with another order of sums
SHAPES = ((375, 500), (333, 250), (480, 640), (200, 300))  # heights and widths of the sample images


@dataclass(frozen=True)
class Subject:
    """All that is needed to judge one build. origins: plan names of values that exist in the reference graph too."""

    variant: Variant
    graph: Graph
    params: Mapping[str, Array]
    parts: Partition
    target: Target
    origins: Mapping[str, Value]
    sizes: Mapping[str, int]


@dataclass
class _Measured:
    errors: dict[str, float] = field(default_factory=dict)
    detections: int = 0
    batch_error: float = 0.0


def certify(subject: Subject, engine: Engine) -> dict[str, Any]:
    """Measure an engine. Raises ParityFailure naming the first diverging op and its line, BatchLeak when images influence each other."""
    measured = _Measured()
    thresholds = {k: v for k, v in engine.header.thresholds.items()}
    if "score_threshold" in thresholds:
        thresholds["score_threshold"] /= 10  # samples are synthetic: a low gate gives detections to compare
    samples = _samples(subject, engine)
    for inputs in samples:
        outputs, values = _run(engine, inputs, thresholds)
        if len(inputs["pixels"]) > 1:
            _check_batch(subject, engine, inputs, thresholds, values, measured)
        expected = reference(subject, {**inputs, **_arrays(thresholds)})
        _check_values(subject, inputs, values, expected, measured)
        _check_detections(subject, outputs, expected, thresholds, measured)
    return {
        "reference": f"{_oracle()} on the unoptimised graph",
        "samples": [list(s["pixels"].shape) for s in samples],
        "tolerance": TOLERANCE,
        "max_error": max(measured.errors.values(), default=0.0),
        "errors": {k: round(v, 9) for k, v in measured.errors.items()},
        "detections_compared": measured.detections,
        "batch_error": measured.batch_error if any(len(s["pixels"]) > 1 for s in samples) else None,
        "dtypes": sorted({v.type.dtype for g in subject.parts.segments.values() for n in g for v in n.outputs}),
    }


def _samples(subject: Subject, engine: Engine) -> list[dict[str, Array]]:
    """Prepared batches of mixed image sizes; for an open input size, two canvases."""
    built, spec = engine.header.input, subject.variant.preprocess
    count = built.batch or 2
    images = [_image(SHAPES[i % len(SHAPES)], seed=i) for i in range(count)]
    canvases = [built.size] if built.size else [_canvas(subject, 256, 320), _canvas(subject, 320, 192)]
    batches = [prepare(images, spec, size=canvas) for canvas in canvases]
    return [{"pixels": b.pixels, "size": b.size, "geometry": b.geometry} for b in batches]


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


def _run(engine: Engine, inputs: Mapping[str, Array], thresholds: Mapping[str, float]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs of the engine, and copies of all values between its steps."""
    values: dict[str, Array] = {}
    outputs = engine.run(
        inputs["pixels"], inputs["size"], inputs["geometry"], watch=lambda k, v: values.update({k: np.array(v)}), **thresholds
    )
    return outputs, values


def _oracle() -> str:
    return "torch" if find_spec("torch") else "numpy"


def reference(subject: Subject, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Detections of the unoptimised graph by output name, and its values that the plan holds too, by plan name."""
    wanted = {**{k: v for k, v in subject.origins.items() if v.type.dtype in FLOATS}, **subject.graph.outputs}
    return evaluate(replace(subject.graph, outputs=wanted, taps={}), inputs, subject.params)


def evaluate(graph: Graph, inputs: Mapping[str, Array], params: Mapping[str, Array]) -> dict[str, Array]:
    """Graph outputs by name, in PyTorch where it is installed, by the NumPy references otherwise."""
    if _oracle() == "numpy":
        found = execute(graph, inputs, params)
        return {k: found[v] for k, v in graph.outputs.items()}
    from graphdet.compiler.backends.torch.segment import TorchSegment  # torch is an extra
    from graphdet.compiler.backends.torch.module import to_module
    from graphdet.ir.walk import live

    segment = TorchSegment(to_module(live(graph), params).eval(), tuple(graph.outputs))
    needed = {k: np.ascontiguousarray(v) for k, v in inputs.items() if k in live(graph).inputs}
    return dict(zip(graph.outputs, segment.run(needed), strict=True))


def _check_batch(
    subject: Subject, engine: Engine, inputs: Mapping[str, Array], thresholds: Mapping[str, float], values: Mapping[str, Array], measured: _Measured
) -> None:
    """Each image gives the same alone (or, with a fixed batch, among other neighbours) as in its batch."""
    count = len(inputs["pixels"])
    alone = engine.header.input.batch is None
    for i in range(count if alone else 1):
        order = [i] if alone else [0, *([1] * (count - 1))]
        _, again = _run(engine, {k: v[order] for k, v in inputs.items()}, thresholds)
        for name, value in subject.parts.values().items():
            if name not in values or value.type.dtype not in FLOATS or name not in subject.origins:
                continue
            if not value.type.rank or values[name].shape[0] != count:
                continue
            error = relative_error(again[name][:1], values[name][i : i + 1])
            measured.batch_error = max(measured.batch_error, error)
            if error > BATCH_TOLERANCE:
                raise BatchLeak(
                    f"{subject.variant.name} on {subject.target.name}: image {i} of a batch gives other numbers than alone "
                    f"({value.node.name}: {error:.1e} of the largest value)",
                    where=render(value.node.places),
                    help="look for an op over axis 0, or a size taken from the whole batch",
                )


def _check_values(
    subject: Subject, inputs: Mapping[str, Array], values: Mapping[str, Array], expected: Mapping[str, Array], measured: _Measured
) -> None:
    dense = {name for g in subject.parts.segments.values() for name in g.outputs}
    for name in subject.origins:
        if name not in dense or name not in expected or name not in values:
            continue
        error = relative_error(values[name], expected[name])
        measured.errors[name] = max(error, measured.errors.get(name, 0.0))
        if error > TOLERANCE:
            raise _divergence(subject, inputs, name, error)


def _divergence(subject: Subject, inputs: Mapping[str, Array], name: str, error: float) -> ParityFailure:
    """The failure, with the first op of the segment whose result differs."""
    segment = next(k for k, g in subject.parts.segments.items() if name in g.outputs)
    found = first_divergence(subject, segment, inputs)
    value = subject.parts.values()[name]
    node, amount = found or (value.node, error)
    return ParityFailure(
        f"{subject.variant.name} on {subject.target.name}: the engine differs from the reference by {error:.1e} of the largest value "
        f"(allowed: {TOLERANCE:.0e}); the first op to differ is {node.name} ({node.scope or 'no scope'}), by {amount:.1e}",
        where=render(node.places),
        help="the artefact was not written; `graphdet explain` lists the rewrites, another --target tells whether the backend is at fault",
    )


def first_divergence(subject: Subject, segment: str, inputs: Mapping[str, Array]) -> tuple[Node, float] | None:
    """Run a segment with all its values as outputs, in the engine and by the reference; the first node that differs, and how much."""
    graph = subject.parts.segments[segment]
    if not set(graph.inputs) <= set(inputs):
        return None  # a later segment: its inputs come from native steps that were checked by themselves
    nodes = [n for n in graph if n.name not in ("input", "const") and n.outputs[0].type.dtype in FLOATS]
    watched = replace(graph, outputs={f"probe{i}": n.outputs[0] for i, n in enumerate(nodes)})
    engine = open_segment(subject.target.name, subject.target.build(watched, {}))
    fed = {k: inputs[k] for k in graph.inputs}
    expected = evaluate(watched, fed, {})
    for node, got, name in zip(nodes, engine.run(fed), watched.outputs, strict=True):
        error = relative_error(np.asarray(got), expected[name])
        if error > TOLERANCE:
            return node, error
    return None


def _check_detections(
    subject: Subject, outputs: dict[str, Array], expected: Mapping[str, Array], thresholds: Mapping[str, float], measured: _Measured
) -> None:
    limits = {k: thresholds.get(k, d) for k, d in (("score_threshold", 0.0), ("iou_threshold", 0.5))}
    for i in range(len(outputs["count"])):
        ours, theirs = Objects.of(outputs, i), Objects.of(dict(expected), i)
        measured.detections += len(theirs.scores)
        for a, b, side in ((theirs, ours, "misses"), (ours, theirs, "adds")):
            lost = unmatched(a, b, **limits)
            if lost:
                k = lost[0]
                box = ", ".join(f"{v:.1f}" for v in a.boxes[k])
                raise ParityFailure(
                    f"{subject.variant.name} on {subject.target.name}: the engine {side} {len(lost)} of {len(a.scores)} detections of sample "
                    f"image {i}, first: label {int(a.labels[k])}, score {a.scores[k]:.4f}, box [{box}]",
                    where=render(subject.graph.outputs["boxes"].node.places),
                )
