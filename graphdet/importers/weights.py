"""Weights files: reading any known format, writing safetensors, and fitting the found names to a detector's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdet.errors import BadWeights, MissingFile, nearest

Array = NDArray[Any]

_COUNTER = ".num_batches_tracked"  # how many batches a norm has seen: of no use to a detector
_LISTED = 10  # names that an error message lists of each kind


@dataclass(frozen=True)
class Weights:
    """Named parameters as C-contiguous native arrays, possibly read-only.

    meta: plain text about the origin: `source` (file name), `format`, `sha256` of the file, and where the file says so
    `classes` (a JSON list of names), `epoch`, `config` and the versions of the writer.
    """

    tensors: dict[str, Array]
    meta: dict[str, str] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order, empty where the file names none. Raises BadWeights if they cannot be read."""
        try:
            names = json.loads(self.meta.get("classes", "[]"))
        except (ValueError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadWeights("the weights' `classes` are no JSON list of names")
        return tuple(names)

    def without_prefix(self, prefix: str) -> Weights:
        """The same weights with `prefix` taken off every name that has it (such as `module.` of a wrapped model).

        Raises BadWeights when two names become one.
        """
        tensors = {name.removeprefix(prefix): array for name, array in self.tensors.items()}
        if len(tensors) != len(self.tensors):
            raise BadWeights(f"without the prefix {prefix!r}, two of the weights have one name")
        return Weights(tensors, self.meta)


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read a safetensors, PyTorch (zip or older) or ONNX file; the content decides, not the file's ending.

    bfloat16 is widened to float32. Of a PyTorch checkpoint the `state_dict` is taken, of an ONNX model the
    initialisers.
    Raises MissingFile, BadWeights (unknown, damaged or unsupported file) and HostilePickle (code in a checkpoint).
    """
    data, meta = read_file(path)
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        return _parse_safetensors(data, meta)
    if data[:4] == b"PK\x03\x04" or (data[:1] == b"\x80" and data[1:2] <= b"\x05"):
        from graphdet.importers.mmdet import parse_mmdet

        return parse_mmdet(data, meta)
    if data[:1] == b"\x08":  # field 1 of an ONNX model, its IR version
        from graphdet.importers.onnx_order import parse_onnx_initialisers

        return parse_onnx_initialisers(data, meta)
    raise BadWeights(
        f"{meta['source']} ({len(data)} bytes, first {data[:8].hex() or 'none'}) is no weights file of a known format",
        help="known are safetensors, PyTorch .pth/.pt and ONNX; a download may have stored a web page instead",
    )


def read_file(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, str]]:
    """The bytes of a weights file and the first entries of its `Weights.meta`. Raises MissingFile, BadWeights."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingFile(f"there is no weights file {str(path)!r}", help="check the path") from None
    except OSError as fault:
        raise BadWeights(f"{str(path)!r} cannot be read: {fault.strerror}") from None
    return data, {"source": path.name, "sha256": hashlib.sha256(data).hexdigest()}


# --- safetensors ------------------------------------------------------------------------------------------------------

_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "BF16": "<u2"},
}
_CODES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file; equal contents give equal bytes. The file appears whole or not at all.

    Raises BadWeights for a dtype that the format does not know.
    """
    path = Path(path)
    parts = _pack(tensors, metadata or {})
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _pack(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Header and tensor bytes in file order: wide elements first, so that every tensor is aligned to its elements."""
    arrays: dict[str, Array] = {}
    for name, value in tensors.items():
        array = np.asarray(value, order="C")
        little = array.dtype.newbyteorder("<")
        if little not in _CODES or name == "__metadata__":
            raise BadWeights(f"tensor {name!r} of dtype {array.dtype} cannot be written to a safetensors file")
        arrays[name] = array.astype(little, copy=False)
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    parts: list[bytes | memoryview] = []
    at = 0
    for name in sorted(arrays, key=lambda n: (-arrays[n].itemsize, n)):
        array = arrays[name]
        header[name] = {
            "dtype": _CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        parts.append(array.tobytes())
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *parts]


def _parse_safetensors(data: bytes, meta: dict[str, str]) -> Weights:
    from safetensors import SafetensorError, deserialize

    read: Any = deserialize
    try:
        entries = read(data)  # checks offsets, sizes, overlaps and the header's form
    except SafetensorError as fault:
        raise BadWeights(
            f"{meta['source']}: damaged safetensors file ({fault})", help="copy or download it again"
        ) from None
    tensors = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise BadWeights(f"{meta['source']}: tensor {name!r} has the unsupported dtype {entry['dtype']}")
        array = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            array = np.asarray(array.astype("u4") << np.uint32(16), order="C").view(np.float32)
        tensors[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return Weights(dict(sorted(tensors.items())), {**header.get("__metadata__", {}), **meta, "format": "safetensors"})


# --- names ------------------------------------------------------------------------------------------------------------


def match_names(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Array]) -> dict[str, Array]:
    """The found arrays under the expected names, in the expected order; names and shapes must fit one to one.

    Batch counters (`*.num_batches_tracked`) are forgiven: a missing one is zero, a surplus one is dropped. So are the
    further names of an array that the detector has once: layers that share their weights are stored under each's name.
    Raises BadWeights that lists the missing, surplus and misshapen names.
    """
    missing = [n for n in expected if n not in found and not n.endswith(_COUNTER)]
    surplus = [n for n in found if n not in expected and not n.endswith(_COUNTER)]
    surplus = [n for n in surplus if not _stored_again(n, expected, found)]
    misshapen = [n for n in expected if n in found and found[n].shape != tuple(expected[n])]
    if missing or surplus or misshapen:
        shapes = [f"{n} has {dims(found[n].shape)}, wanted {dims(expected[n])}" for n in misshapen]
        listing = [*_listed("missing", missing), *_listed("surplus", surplus), *_listed("misshapen", shapes)]
        raise BadWeights(
            "\n".join(["the weights do not fit the detector", *listing]),
            help=_advice(missing, surplus, expected, found),
        )
    return {n: found[n] if n in found else np.zeros(shape, np.int64) for n, shape in expected.items()}


def _stored_again(name: str, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Array]) -> bool:
    """Whether an expected array stands under a name that differs in one number, with the same values."""
    parts = name.split(".")
    for i, part in enumerate(parts):
        other = ".".join([*parts[:i], "0", *parts[i + 1 :]])
        if part.isdigit() and other in expected and other in found and np.array_equal(found[other], found[name]):
            return True
    return False


def _listed(kind: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    more = [f"    ... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return [f"  {len(lines)} {kind}:", *(f"    {line}" for line in lines[:_LISTED]), *more]


def _advice(
    missing: list[str], surplus: list[str], expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Array]
) -> str:
    if missing and surplus:
        for label, here, there in (("the file's", surplus, missing), ("the detector's", missing, surplus)):
            prefix = _common_prefix(here, there)
            if prefix and label == "the file's":
                return f"all surplus names start with {prefix!r}: load weights.without_prefix({prefix!r})"
            if prefix:
                return f"{label} names start with {prefix!r}, which the file's lack: the file holds only that part"
        close = nearest(missing[0], surplus)
        return f"for {missing[0]!r}: {close}" if close else "is the file of another architecture?"
    if not missing and not surplus:
        return "the number of classes, the width or the depth differs: is the file of another variant?"
    return "the file holds only a part of the detector" if missing else "the detector lacks a part that the file has"


def _common_prefix(names: Iterable[str], targets: Iterable[str]) -> str:
    """The leading dotted part that turns most `names` into `targets`, or the empty string."""
    names, targets = list(names), set(targets)
    prefix = ""
    for part in names[0].split(".")[:-1]:
        prefix += part + "."
        if not all(n.startswith(prefix) for n in names):
            return ""
        if 2 * sum(n.removeprefix(prefix) in targets for n in names) > len(names):
            return prefix
    return ""


def dims(shape: Iterable[int]) -> str:
    """A shape as messages print it: `[16 3 3 3]`."""
    return f"[{' '.join(map(str, shape))}]"
