"""Refuse ONNX models that point at other files.

ONNX lets a tensor say "my data are in file x"; OpenVINO then reads that file, wherever it lies. An artefact that names
files of its reader's disk must not be opened. The walk below reads the protobuf wire format, as the onnx package is too
heavy to load in a deployment: it visits each message that can hold a tensor and steps over the rest by its length.
"""

from __future__ import annotations

# Message -> field number -> message, from onnx.proto; only paths that lead to tensors.
_FIELDS = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of Tensor
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_DEPTH = 100  # protobuf's own limit


def refuse_external_data(model: bytes) -> None:
    """Raise ValueError where a tensor's data lie in another file, or where the bytes are not a protobuf message."""
    _walk(memoryview(model), "Model", 0)


def _walk(data: memoryview, message: str, depth: int) -> None:
    if depth > _DEPTH:
        raise ValueError("the ONNX model is nested too deeply")
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if tag >> 32:  # parsers disagree on such tags, so nothing can hide behind one
            raise ValueError("not an ONNX model: a field number is too large")
        field, wire = tag >> 3, tag & 7
        value, start, position = _skip(data, position, wire)
        if message == "Tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            raise ValueError("the ONNX model keeps tensor data in another file")
        if wire == _BYTES and field in _FIELDS[message]:
            _walk(data[start:position], _FIELDS[message][field], depth + 1)


def _skip(data: memoryview, position: int, wire: int) -> tuple[int, int, int]:
    """(value of a varint or length of anything else, where the content starts, where it ends)."""
    if wire == _VARINT:
        value, end = _varint(data, position)
        return value, position, end
    if wire == _BYTES:
        value, position = _varint(data, position)
    elif wire in (_FIXED64, _FIXED32):
        value = 8 if wire == _FIXED64 else 4
    else:
        raise ValueError(f"not an ONNX model: wire type {wire}")
    if position + value > len(data):
        raise ValueError("not an ONNX model: a field is longer than its message")
    return value, position, position + value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, position + i + 1
    raise ValueError("not an ONNX model: a number does not end")
