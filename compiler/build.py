"""Compile: trace, optimise, partition, build, certify; the result is an artefact in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np

from graphdet._version import __version__
from graphdet.compiler.augment import PLAIN, View, augment
from graphdet.compiler.backends.target import Target, find_target
from graphdet.compiler.certify import Subject, certify
from graphdet.compiler.driver import Explanation, bound_sizes, optimise
from graphdet.compiler.known_bad import faults
from graphdet.compiler.passes.partition import Partition, partition
from graphdet.compiler.passes.plan_memory import plan_memory
from graphdet.errors import BackendMissing, BadInput, BadWeights, NotLowerable
from graphdet.importers.weights import match_names
from graphdet.ir.detector import Variant, trace
from graphdet.ir.graph import Graph, Value, array_hash
from graphdet.ir.initial import initial_values
from graphdet.ir.source import render
from graphdet.ir.text import arrays_of, parse, to_text
from graphdet.ir.types import numpy_dtype
from graphdet.records import Array
from graphdet.runtime.artefact import Artefact, pack_arrays
from graphdet.runtime.engine import Engine
from graphdet.runtime.header import GRAPH_INPUTS, Bounds, Given, Header, Input, Plan
from graphdet.runtime.preprocess import Image

Size = tuple[int, int] | Bounds | Literal["dynamic"] | None
Batch = int | Literal["dynamic"]
ORIGIN = "#"  # prefix of the taps that follow every value of the reference graph through the passes


def compile(
    variant: Variant,
    weights: Mapping[str, Array],
    target: str = "openvino",
    *,
    size: Size = None,
    batch: Batch = 1,
    views: Sequence[View] = (PLAIN,),
    certified: bool = True,
    images: Sequence[Image] = (),
    progress: Callable[[str], None] | None = None,
) -> Artefact:
    """Compile a detector with its weights to an artefact that `runtime.write_artefact` writes and `Engine` runs.

    size: (height, width) of the network input, `dynamic`, `Bounds` within which it is, or None for the variant's own
    test size · batch: a number or `dynamic` · views: what the engine sees of each image (test-time augmentation), see
    `augment` · certified: run the engine beside the reference and fail on a difference · images: paths or arrays to do
    that on, instead of drawn pictures · progress: told what is being done.

    Raises BadWeights for weights that do not fit, NotLowerable for ops that the target and the runtime lack,
    ParityFailure and BatchLeak when the engine is wrong, BackendMissing when a package is not installed, BadInput for
    an impossible size, BadImage and MissingFile for images that cannot be used.
    """
    report = progress or (lambda _: None)
    report("trace")
    row, graph = find_target(target), trace(variant)
    given = _given(graph)
    _check_bounds(variant, size)
    if tuple(views) != (PLAIN,):
        graph = augment(graph, views)
    params = _typed(graph, match_names(_shapes(graph), weights))
    _check_finite(params)
    fixed = static_size(variant, size)
    sizes = bound_sizes(fixed, None if batch == "dynamic" else batch)
    explanation = optimise(with_origins(graph), params, sizes, report=report)
    report("partition")
    parts = partition(explanation.graph, row)
    origins = _origins(graph, parts.graph)
    taps = {k: v for k, v in parts.graph.taps.items() if not k.startswith(ORIGIN)}
    parts = replace(parts, graph=replace(parts.graph, taps=taps))
    bounds = size if isinstance(size, Bounds) else None
    most = bounds.most if bounds else canvas(variant)
    nominal = {**parts.graph.bounds, "N": 1, **dict(zip("HW", fixed or most, strict=True)), **sizes}
    taken = Input(None if batch == "dynamic" else batch, fixed, bounds, given)
    header = _header(variant, row, parts, taken, nominal)
    header = replace(header, provenance=_provenance(graph, params) | {"views": [str(v) for v in views]})
    report("build")
    artefact = Artefact(header, _blobs(parts, row))
    if not certified:
        return artefact
    report("certify")
    named = {o: parts.names[v] for o, v in origins.items() if v in parts.names}
    subject = Subject(variant, graph, params, parts, row, named, nominal)
    return replace(artefact, header=replace(header, certificate=certify(subject, Engine(artefact), images)))


def explain(variant: Variant, *, size: Size = None, batch: Batch = 1, target: str = "openvino") -> Explanation:
    """What each pass does to a detector with its initial weights, and why rewrites did not fire.

    Also the nodes that are kept away from the target, because it is known to get them wrong.
    """
    graph = trace(variant)
    sizes = bound_sizes(static_size(variant, size), None if batch == "dynamic" else batch)
    done = optimise(graph, initial_values(graph), sizes)
    return replace(done, avoided=faults(done.graph, find_target(target)))


def graph_of(artefact: Artefact) -> Graph:
    """The optimised typed graph that an artefact holds."""
    return parse(artefact.blob("graph").decode(), artefact.arrays("weights"))


def static_size(variant: Variant, size: Size) -> tuple[int, int] | None:
    """The network input of a build, or None while it stays open."""
    if size == "dynamic" or isinstance(size, Bounds):
        return None
    return canvas(variant) if size is None else size


def canvas(variant: Variant) -> tuple[int, int]:
    """The variant's own test size, rounded up to what the network divides by."""
    divisor = variant.preprocess.divisor
    height, width = variant.preprocess.size
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def with_origins(graph: Graph) -> Graph:
    """The graph with a tap on every value, so that passes carry along what became of each."""
    values = (v for n in graph.nodes for v in n.outputs)
    return replace(graph, taps={**graph.taps, **{f"{ORIGIN}{i}": v for i, v in enumerate(values)}})


def _origins(graph: Graph, optimised: Graph) -> dict[Value, Value]:
    """For values of the reference graph the values of the optimised one that equal them."""
    values = [v for n in graph.nodes for v in n.outputs]
    return {values[int(name[1:])]: now for name, now in optimised.taps.items() if name.startswith(ORIGIN)}


def _typed(graph: Graph, params: Mapping[str, Array]) -> dict[str, Array]:
    """The values in the types that the graph declares: files may store them shorter."""
    return {name: np.asarray(array, numpy_dtype(graph.params[name].type.dtype)) for name, array in params.items()}


def _shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {k: tuple(int(d.constant or 0) for d in v.shape) for k, v in graph.params.items()}


def other_inputs(graph: Graph) -> list[Value]:
    """What a graph must be given beside images."""
    return [v for k, v in graph.inputs.items() if k not in GRAPH_INPUTS and v.node.attributes["default"] is None]


def _given(graph: Graph) -> dict[str, Given]:
    """The same, as the artefact declares it. Raises NotLowerable for what is not a block of numbers for each image."""
    found: dict[str, Given] = {}
    for value in other_inputs(graph):
        name, type = value.node.attributes["name"], value.type
        sides = tuple(d.constant for d in type.dims[1:] if d.constant)
        of_each = type.rank and str(type.dims[0]) == "N" and len(sides) == type.rank - 1 < 4
        if not of_each or type.dtype not in ("f32", "i64"):
            raise NotLowerable(
                f"{graph.name} has the input {name!r} of type {type}, which engines cannot be given",
                where=render(value.node.places),
                help="they take f32 and i64, a block of fixed size for each image: f32[N 1000 4]",
            )
        found[name] = Given(type.dtype, sides, type.meaning)
    return found


def _check_bounds(variant: Variant, size: Size) -> None:
    """Raise BadInput for bounds that no input of the network can have, or of which the largest is below the least."""
    if not isinstance(size, Bounds):
        return
    divisor = variant.preprocess.divisor
    ends = zip(size.least, size.most, strict=True)
    if any(not 1 <= low <= high or low % divisor or high % divisor for low, high in ends):
        raise BadInput(
            f"the bounds {size} are no range of sizes of {variant.name}",
            help=f"from the least to the most, multiples of {divisor}",
        )


def _check_finite(params: Mapping[str, Array]) -> None:
    """Raise BadWeights for parameters that hold a NaN or an infinity: they would pass every comparison as equal."""
    bad = {
        k: int((~np.isfinite(v)).sum()) for k, v in params.items() if v.dtype.kind == "f" and not np.isfinite(v).all()
    }
    if bad:
        first, *more = bad
        others = f", and {len(more)} parameters more" if more else ""
        raise BadWeights(
            f"parameter {first!r} holds {bad[first]} of {params[first].size} values that are not finite{others}",
            help="the training run diverged, or the file is damaged: take an earlier checkpoint",
        )


def _blobs(parts: Partition, target: Target) -> dict[str, bytes]:
    blobs = {
        "graph": to_text(parts.graph).encode(),
        "weights": pack_arrays(arrays_of(parts.graph)),
        "constants": pack_arrays(dict(parts.constants)),
    }
    try:
        return {
            **blobs,
            **{f"segment:{name}": target.build(replace(graph, taps={}), {}) for name, graph in parts.segments.items()},
        }
    except ModuleNotFoundError as error:
        raise BackendMissing(f"target {target.name} needs the package {error.name!r}", help=target.install) from error


def _header(variant: Variant, target: Target, parts: Partition, shape: Input, sizes: Mapping[str, int]) -> Header:
    defaults = {k: v.node.attributes["default"] for k, v in parts.graph.inputs.items()}
    return Header(
        detector=variant.name,
        target=target.name,
        classes=variant.row.classes,
        preprocess=variant.preprocess,
        input=shape,
        thresholds={k: float(v) for k, v in defaults.items() if v is not None},
        plan=Plan(parts.steps, dict(parts.outputs), plan_memory(parts, sizes)),
        masks=parts.graph.outputs["masks"].type.frame if "masks" in parts.outputs else "",
    )


def _provenance(graph: Graph, params: Mapping[str, Array]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name in sorted(params):
        digest.update(f"{name}={array_hash(params[name])};".encode())
    packages = {name: _version(name) for name in ("numpy", "onnx", "onnxruntime", "openvino", "torch")}
    return {
        "graphdet": __version__,
        "graph": graph.hash,
        "weights": digest.hexdigest(),
        "packages": {k: v for k, v in packages.items() if v},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
