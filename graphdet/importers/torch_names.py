"""What a PyTorch checkpoint may name: storages, tensors, and the few plain types that come with them.

Tensors become records here. Nothing in a record is trusted; `torch_pickle.Checkpoint` checks it against the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphdet.importers.plain_pickle import Dialect, Maker, plain_key


@dataclass(frozen=True)
class StorageType:
    """Element type of a storage: `code` is a NumPy type code without byte order, or `bf16`."""

    code: str

    @property
    def width(self) -> int:
        """Bytes per element."""
        return 2 if self.code == "bf16" else np.dtype(self.code).itemsize


@dataclass(frozen=True)
class StorageRecord:
    """A storage as the pickle names it: `count` elements under `key`, of which this one starts at element `start`."""

    key: str
    type: StorageType
    count: int
    start: int


@dataclass(frozen=True)
class TensorRecord:
    """A tensor as the pickle describes it. Nothing in it is checked before `Checkpoint.array`."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any
    type: StorageType


def storage_record(identity: object) -> StorageRecord:
    """The storage that a persistent id names. Raises TypeError when it names something else."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise TypeError("a persistent id that is no storage")
    _, kind, key, _, count, *rest = identity
    start = 0
    if rest and rest[0] is not None:  # a view of another storage, as PyTorch 0.x wrote them: (key, offset, size)
        _, start, _ = rest[0]
    if not isinstance(kind, StorageType) or type(key) is not str or not all(map(_is_count, (count, start))):
        raise TypeError("a malformed storage")
    return StorageRecord(key, kind, count, start)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> TensorRecord:
    if not isinstance(storage, StorageRecord):
        raise TypeError("a tensor without a storage")
    return TensorRecord(storage, offset, shape, strides, storage.type)


def _typed_tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> TensorRecord:
    # rest is (requires_grad, hooks, element type, ...); the storage is counted in bytes.
    kind = rest[2]
    if not isinstance(storage, StorageRecord) or not isinstance(kind, StorageType) or storage.start:
        raise TypeError("a tensor without a storage or an element type")
    typed = StorageRecord(storage.key, kind, storage.count // kind.width, 0)
    return TensorRecord(typed, offset, shape, strides, kind)


def _parameter(data: object, *_: object) -> object:
    return data


def _ordered_dict(pairs: Iterable[tuple[object, object]] = ()) -> dict[object, object]:
    return {plain_key(key): value for key, value in pairs}


def _size(values: Iterable[object] = ()) -> tuple[object, ...]:
    return tuple(values)


def _device(name: object, *_: object) -> object:
    return name


def _set(values: Iterable[object] = ()) -> set[object]:
    return {plain_key(value) for value in values}


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes written as something other than latin-1 text")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


@dataclass
class _NumpyType:
    """Stands for a pickled `numpy.dtype` of numbers."""

    code: str
    order: str = "="


def _numpy_type(code: object, *_: object) -> _NumpyType:
    if not isinstance(code, str) or code[:1] not in "biuf" or code[1:] not in ("1", "2", "4", "8"):
        raise TypeError("a NumPy type that is no number")
    return _NumpyType(code)


def _numpy_scalar(kind: object, data: object) -> object:
    raw = data.encode("latin1") if type(data) is str else data
    if not isinstance(kind, _NumpyType) or type(raw) is not bytes:
        raise TypeError("a malformed NumPy number")
    dtype = np.dtype(kind.order + kind.code)
    if len(raw) != dtype.itemsize:
        raise TypeError("a NumPy number of the wrong length")
    return np.frombuffer(raw, dtype)[0].item()


def _build(target: object, state: object) -> None:
    if isinstance(target, _NumpyType) and type(state) is tuple and len(state) > 1 and state[1] in ("<", ">", "|", "="):
        target.order = "=" if state[1] == "|" else state[1]
    elif type(target) is not dict:  # attributes of an OrderedDict (a state_dict's version table) carry no weights
        raise TypeError(f"a state for a {type(target).__name__}")


_TYPES = {
    **{"Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": "bf16", "Long": "i8", "Int": "i4", "Short": "i2"},
    **{"Char": "i1", "Byte": "u1", "Bool": "?", "ComplexFloat": "c8", "ComplexDouble": "c16"},
}
_DTYPES = {
    **{"float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": "bf16", "complex64": "c8", "complex128": "c16"},
    **{"int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1", "uint8": "u1", "bool": "?"},
    **{"uint16": "u2", "uint32": "u4", "uint64": "u8"},
}
_KNOWN: Mapping[str, Any] = {
    "collections.OrderedDict": Maker(_ordered_dict),
    "torch._utils._rebuild_tensor": Maker(_tensor),
    "torch._utils._rebuild_tensor_v2": Maker(_tensor),
    "torch._utils._rebuild_tensor_v3": Maker(_typed_tensor),
    "torch._utils._rebuild_parameter": Maker(_parameter),
    "torch._utils._rebuild_parameter_with_state": Maker(_parameter),
    "torch.Size": Maker(_size),
    "torch.device": Maker(_device),
    **{f"{m}.{name}Storage": StorageType(code) for m in ("torch", "torch.cuda") for name, code in _TYPES.items()},
    **{f"torch.storage.{name}": StorageType("u1") for name in ("UntypedStorage", "_UntypedStorage")},
    **{f"torch.{name}": StorageType(code) for name, code in _DTYPES.items()},
    **{f"{m}.set": Maker(_set) for m in ("builtins", "__builtin__")},
    **{f"{m}.bytes": Maker(_no_bytes) for m in ("builtins", "__builtin__")},
    "_codecs.encode": Maker(_encode),
    "numpy.dtype": Maker(_numpy_type),
    **{f"numpy.{core}.multiarray.scalar": Maker(_numpy_scalar) for core in ("core", "_core")},
}
DIALECT = Dialect(_KNOWN, storage_record, _build)
