"""Weights of a file under the parameter names of a detector, whichever library wrote the file."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from graphdet.errors import BadWeights
from graphdet.importers.onnx_order import assign_convs, read_onnx_convs
from graphdet.importers.slots import conv_slots
from graphdet.importers.weights import Weights, match_names, read_file, read_weights
from graphdet.ir.detector import Variant, trace

_MOST = 100_000  # classes; a damaged number must not make a network of gigabytes


def import_weights(path: str | os.PathLike[str], variant: Variant) -> Weights:
    """Read a safetensors, PyTorch or ONNX file and fit it to a detector: every name present, every shape right.

    An ONNX file's convolutions are taken by their order, as exporters lose the names. `meta` gains `detector`,
    `num_classes` where the variant states it, `classes` (a JSON list) where names of that number are known, and
    `imported_source`, `imported_format`, `imported_sha256`, which stay when the weights are written and read again.
    Raises MissingFile, HostilePickle, and BadWeights that says what does not fit.
    """
    graph = trace(variant, "infer")
    expected = {name: tuple(d.evaluate({}) for d in value.shape) for name, value in graph.params.items()}
    if Path(path).suffix.lower() == ".onnx":
        convs = read_onnx_convs(path)
        found = assign_convs(convs, conv_slots(graph, variant.export_order), expected, read_file(path)[1])
    else:
        found = _unwrapped(read_weights(path), expected)
    try:
        matched = match_names(expected, found.tensors)
    except BadWeights as fault:
        fault.help = _count_help(found, variant) or fault.help
        raise
    facts = {"detector": variant.name}
    count = variant.row.arguments.get("num_classes", len(variant.row.classes))
    if "num_classes" in variant.row.arguments:
        facts["num_classes"] = str(count)
    for classes in (found.classes, variant.row.classes):
        if len(classes) == count:
            facts.setdefault("classes", json.dumps(list(classes), ensure_ascii=False))
    origin = {f"imported_{key}": found.meta[key] for key in ("source", "format", "sha256")}
    return Weights(matched, {**found.meta, **origin, **facts})


def variant_of(variant: Variant, weights: Weights) -> Variant:
    """The variant as the weights were made for: with the number and names of classes that their `meta` records.

    Raises BadWeights when the weights say that they belong to another detector, or record no readable number.
    """
    stated = weights.meta.get("detector", variant.name)
    if stated != variant.name:
        raise BadWeights(
            f"these weights are of {stated!r}, not of {variant.name!r}", help=f"name the detector {stated}"
        )
    known = len(weights.classes or variant.row.classes)
    text = weights.meta.get("num_classes", str(known))
    if not text.isdecimal() or not 0 < int(text) < _MOST:
        raise BadWeights(f"the weights say num_classes = {text[:40]!r}, a number is expected", help="import them again")
    if int(text) != len(variant.row.classes):
        variant = variant.with_arguments(num_classes=int(text))
    return replace(
        variant, row=replace(variant.row, classes=class_names(weights.classes or variant.row.classes, int(text)))
    )


def class_names(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The names where there are `count` of them, otherwise `class 0`, `class 1`, ..."""
    return names if len(names) == count else tuple(f"class {i}" for i in range(count))


def _unwrapped(weights: Weights, expected: dict[str, tuple[int, ...]]) -> Weights:
    """Without the prefix that a data-parallel wrapper puts before every name."""
    wrapped = weights.tensors and all(name.startswith("module.") for name in weights.tensors)
    return (
        weights.without_prefix("module.") if wrapped and not any(n.startswith("module.") for n in expected) else weights
    )


def _count_help(found: Weights, variant: Variant) -> str:
    count = len(found.classes)
    return (
        f"the file names {count} classes: try --classes {count}" if count and count != len(variant.row.classes) else ""
    )
