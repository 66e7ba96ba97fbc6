"""Weights of an ONNX export that lost its parameter names: its n-th convolution is the detector's n-th.

Exporters fold a batch norm into the convolution before it. The folded bias then becomes the shift of a norm that does
nothing else: mean 0, variance 1, scale sqrt(1 + eps), so that scale / sqrt(variance + eps) = 1 and the output is
conv(x) + bias.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphdet.errors import BadWeights
from graphdet.importers.weights import Weights, dims, read_file

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]


@dataclass(frozen=True)
class ConvWeights:
    """One Conv node of a file: weight f32[out in/groups kh kw], bias f32[out] or None; `name` is for messages."""

    name: str
    weight: Array
    bias: Array | None


@dataclass(frozen=True)
class NormSlot:
    """Full parameter names of the batch norm behind a convolution, and its epsilon."""

    weight: str
    bias: str
    mean: str
    var: str
    eps: float


@dataclass(frozen=True)
class ConvSlot:
    """Full parameter names of one convolution of a detector, and of the norm behind it."""

    weight: str
    bias: str | None
    norm: NormSlot | None


def read_onnx_convs(path: str | os.PathLike[str]) -> list[ConvWeights]:
    """The constant weights of all Conv nodes of an ONNX model, in the order of the file.

    Raises MissingFile; BadWeights if the file is damaged, keeps its tensors in other files, holds batch norms that are
    not folded, or a Conv whose weight is computed (a quantised model).
    """
    data, meta = read_file(path)
    model = _load(data, meta["source"])
    norms = sum(node.op_type == "BatchNormalization" for node in model.graph.node)
    if norms:
        raise BadWeights(
            f"{meta['source']} holds {norms} BatchNormalization nodes that are not folded into their convolutions",
            help="export the model in evaluation mode with constant folding, or simplify it",
        )
    constants = _constants(model, meta["source"])
    convs = [_conv(node, constants, meta["source"]) for node in model.graph.node if node.op_type == "Conv"]
    if not convs:
        raise BadWeights(f"{meta['source']} holds no Conv node", help="quantised models (QLinearConv) are not read")
    return convs


def parse_onnx_initialisers(data: bytes, meta: dict[str, str]) -> Weights:
    """All initialisers of an ONNX model by their own names; `meta` holds the `source`. Raises BadWeights."""
    import onnx

    model = _load(data, meta["source"])
    numeric = [t for t in model.graph.initializer if t.data_type != onnx.TensorProto.STRING]
    tensors = {t.name: _array(t, meta["source"]) for t in numeric}
    return Weights(tensors, {**meta, "format": "onnx"})


def assign_convs(
    convs: Sequence[ConvWeights],
    slots: Sequence[ConvSlot],
    expected: Mapping[str, tuple[int, ...]],
    meta: Mapping[str, str] | None = None,
) -> Weights:
    """Give the n-th convolution of a file to the n-th convolution of a detector.

    slots: the detector's convolutions in execution order; one that is used several times (a shared head) stands once
    for every use, and all its uses must hold equal values · expected: shapes of the detector's parameters by name ·
    meta: facts about the file that the result carries on (`read_file(path)[1]`).
    Raises BadWeights that names the first position that does not fit.
    """
    tensors: dict[str, Array] = {}
    for place, (conv, slot) in enumerate(zip(convs, slots, strict=False), 1):
        for name, array in _fill(conv, slot, f"convolution {place} of the file ({conv.name!r})").items():
            if name not in expected:
                raise BadWeights(f"convolution {place} of the detector wants {name!r}, which is no parameter of it")
            if array.shape != tuple(expected[name]):
                raise BadWeights(
                    f"convolution {place} of the file ({conv.name!r}) gives {name!r} the shape {dims(array.shape)}, "
                    f"but the detector wants {dims(expected[name])}",
                    help=_counts(convs, slots) or "the variant, the number of classes or the order differs",
                )
            if name in tensors and not np.array_equal(tensors[name], array):
                raise BadWeights(
                    f"convolution {place} of the file ({conv.name!r}) gives {name!r} other values than an earlier one",
                    help="the detector shares this convolution, the file does not",
                )
            tensors[name] = array
    if len(convs) != len(slots):
        place = min(len(convs), len(slots))
        first = f"{convs[place].name!r} is left over" if len(convs) > place else f"{slots[place].weight!r} gets nothing"
        raise BadWeights(f"{_counts(convs, slots)}: {first}", help="is the file of another architecture or variant?")
    return Weights(tensors, {**(meta or {}), "format": "onnx"})


def _counts(convs: Sequence[ConvWeights], slots: Sequence[ConvSlot]) -> str:
    if len(convs) == len(slots):
        return ""
    return f"the file has {len(convs)} convolutions, the detector {len(slots)}"


def _fill(conv: ConvWeights, slot: ConvSlot, where: str) -> dict[str, Array]:
    """The parameters of one slot, by name."""
    shift = np.zeros(conv.weight.shape[0], np.float32) if conv.bias is None else conv.bias
    filled = {slot.weight: conv.weight}
    if slot.bias is not None:
        filled[slot.bias] = shift
        shift = np.zeros_like(shift)
    elif slot.norm is None and shift.any():
        raise BadWeights(f"{where} has a bias, but {slot.weight!r} of the detector has neither a bias nor a norm")
    if slot.norm is not None:
        one = np.ones_like(shift)
        filled[slot.norm.weight] = np.sqrt(one + np.float32(slot.norm.eps))
        filled[slot.norm.bias] = shift
        filled[slot.norm.mean] = np.zeros_like(shift)
        filled[slot.norm.var] = one
    return filled


# --- reading ----------------------------------------------------------------------------------------------------------


def _load(data: bytes, source: str) -> onnx.ModelProto:
    import onnx

    damage: type[Exception] = import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load_model_from_string(data)
    except damage:
        raise BadWeights(f"{source}: damaged ONNX file", help="copy or download it again") from None
    if not model.graph.node:
        raise BadWeights(f"{source} is no ONNX model, or an empty one", help="copy or download it again")
    return model


def _constants(model: onnx.ModelProto, source: str) -> dict[str, Array]:
    """Initialisers and outputs of Constant nodes that Conv nodes use, seen through Identity nodes."""
    wanted = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:]}
    aliases = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Identity" and n.input}
    tensors = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output:
            tensors.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    constants = {}
    for name in wanted:
        origin = _origin(name, aliases)
        if origin in tensors:
            constants[name] = _array(tensors[origin], source)
    return constants


def _origin(name: str, aliases: Mapping[str, str]) -> str:
    for _ in range(len(aliases)):  # bounded, as a damaged file may hold a ring
        if name not in aliases:
            break
        name = aliases[name]
    return name


def _conv(node: onnx.NodeProto, constants: Mapping[str, Array], source: str) -> ConvWeights:
    name = node.name or (node.output[0] if node.output else "?")
    missing = [value for value in node.input[1:] if value and value not in constants]
    if len(node.input) < 2 or missing:
        raise BadWeights(
            f"{source}: the weights of Conv {name!r} are computed, not stored",
            help="quantised models are not read; use the floating-point export",
        )
    weight = constants[node.input[1]]
    bias = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else None
    if weight.ndim != 4 or (bias is not None and bias.shape != weight.shape[:1]):
        raise BadWeights(f"{source}: Conv {name!r} has a weight of {dims(weight.shape)} or a bias that does not fit it")
    floats = None if bias is None else np.asarray(bias, np.float32, order="C")
    return ConvWeights(name, np.asarray(weight, np.float32, order="C"), floats)


def _array(tensor: onnx.TensorProto, source: str) -> Array:
    import onnx
    from onnx import numpy_helper

    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise BadWeights(
            f"{source} keeps tensor {tensor.name!r} in another file", help="save the model with its data inside"
        )
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as fault:
        raise BadWeights(f"{source}: tensor {tensor.name!r} is damaged ({fault})") from None
    return array.astype(np.float32) if tensor.data_type == onnx.TensorProto.BFLOAT16 else array
