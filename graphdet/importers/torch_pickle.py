"""PyTorch checkpoints (`.pth`, `.pt`) without PyTorch: the zip container (since 1.6) and the older stream of pickles.

Only plain data and tensors are read (see `plain_pickle`). Every size, offset and stride is checked against the bytes
that are really there before an array is made of it.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphdet.errors import BadWeights
from graphdet.importers.plain_pickle import load_plain
from graphdet.importers.torch_names import DIALECT, StorageRecord, TensorRecord, storage_record

Array = NDArray[Any]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_ROOM = 256 << 20  # bytes that copies or unpacked members may take whatever the size of the file
_GROWTH = 16  # ... and beyond that, in units of the file's size
_AGAIN = "copy or download the file again"


@dataclass
class Checkpoint:
    """An opened checkpoint: `content` is plain data with `TensorRecord` leaves, turned into arrays one by one."""

    content: Any
    source: str
    storages: Mapping[str, memoryview]
    byte_order: str
    room: int
    _views: dict[str, memoryview] = field(default_factory=dict)

    def array(self, name: str, record: TensorRecord) -> Array:
        """The tensor's values, C-contiguous, in native byte order; bfloat16 is widened to float32.

        A contiguous tensor is a read-only view of the file's bytes; others are copied. `name` is for messages.
        Raises BadWeights when the record reaches outside its storage.
        """
        storage = self._checked(name, record)
        raw = np.dtype(self.byte_order + ("u2" if record.type.code == "bf16" else record.type.code))
        steps = [step * raw.itemsize if n > 1 else 0 for n, step in zip(record.shape, record.strides, strict=True)]
        first = (storage.start + record.offset) * raw.itemsize
        if 0 in record.shape:
            view = np.zeros(record.shape, raw)
        else:
            view = np.ndarray(record.shape, raw, buffer=self._bytes(storage), offset=first, strides=steps)
        return self._native(name, view, record.type.code)

    def _native(self, name: str, view: Array, code: str) -> Array:
        plain = view.dtype.isnative and view.flags.c_contiguous and view.flags.aligned
        if plain and code not in ("bf16", "?"):
            return view
        self.room -= view.size * (4 if code == "bf16" else view.itemsize)
        if self.room < 0:
            raise self._bad(name, "is a view that would take far more memory than the file holds")
        if code == "?":
            return np.asarray(view.view("u1") != 0)
        native = np.array(view, dtype=view.dtype.newbyteorder("="), order="C")
        if code == "bf16":
            native = np.asarray(native.astype(np.uint32) << np.uint32(16), order="C").view(np.float32)
        return native

    def _checked(self, name: str, record: TensorRecord) -> StorageRecord:
        storage, shape, strides = record.storage, record.shape, record.strides
        if not isinstance(storage, StorageRecord):
            raise self._bad(name, "has no storage")
        sound = type(shape) is tuple and type(strides) is tuple and len(shape) == len(strides) <= 32
        if not sound or not all(type(v) is int and 0 <= v < 1 << 62 for v in (record.offset, *shape, *strides)):
            raise self._bad(name, "has a malformed shape, stride or offset")
        last = record.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and storage.start + last >= storage.count:
            raise self._bad(name, f"reaches element {storage.start + last} of a storage of {storage.count}")
        if math.prod(max(n, 1) for n in shape) >= 1 << 48:
            raise self._bad(name, "has an absurd shape")
        return storage

    def _bytes(self, storage: StorageRecord) -> memoryview:
        view = self._views.get(storage.key)
        if view is None:
            if storage.key not in self.storages:
                raise BadWeights(f"{self.source}: storage {storage.key!r} is missing from the file", help=_AGAIN)
            view = self._views[storage.key] = self.storages[storage.key]
        if len(view) != storage.count * storage.type.width:
            raise BadWeights(
                f"{self.source}: storage {storage.key!r} has {len(view)} bytes, "
                f"but {storage.count} elements of {storage.type.width} bytes are announced",
                help=_AGAIN,
            )
        return view

    def _bad(self, name: str, what: str) -> BadWeights:
        return BadWeights(f"{self.source}: tensor {name!r} {what}", help=_AGAIN)


def open_torch(data: bytes, source: str) -> Checkpoint:
    """Open the bytes of a PyTorch checkpoint; `source` names the file in messages.

    Raises HostilePickle when the file holds more than plain data and tensors (wherever in the file), BadWeights when it
    is damaged or of an unsupported layout (TorchScript, the tar files of PyTorch 0.1).
    """
    return _open_zip(data, source) if data[:4] == b"PK\x03\x04" else _open_legacy(data, source)


def _room(data: bytes) -> int:
    return _ROOM + _GROWTH * len(data)


# --- zip container ----------------------------------------------------------------------------------------------------


def _open_zip(data: bytes, source: str) -> Checkpoint:
    members = _Members(data, source)
    pickles = [n for n in members if n == "data.pkl" or (n.endswith("/data.pkl") and n.count("/") == 1)]
    if len(pickles) != 1:
        raise BadWeights(f"{source} is a zip file but no PyTorch checkpoint (no data.pkl in it)")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in members:
        raise BadWeights(f"{source} is a TorchScript program", help="save the state_dict of the model instead")
    order = bytes(members[f"{prefix}byteorder"]) if f"{prefix}byteorder" in members else b"little"
    if order not in (b"little", b"big"):
        raise BadWeights(f"{source}: unknown byte order {order[:20]!r}", help=_AGAIN)
    content = load_plain(io.BytesIO(members[pickles[0]]), DIALECT, source)
    return Checkpoint(content, source, _Prefixed(members, f"{prefix}data/"), "<>"[order == b"big"], _room(data))


class _Members(dict[str, memoryview]):
    """Members of a zip file by name, checked and unpacked when first asked for; stored ones are not copied."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self.source, self.room = data, source, _room(data)
        try:
            self.file = zipfile.ZipFile(io.BytesIO(data))
            infos = self.file.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, OSError) as fault:
            raise BadWeights(f"{source}: damaged or truncated zip file ({fault})", help=_AGAIN) from None
        self.infos = {info.filename: info for info in infos}
        if len(self.infos) != len(infos):
            raise BadWeights(f"{source}: two members of the zip file have one name", help=_AGAIN)

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def __missing__(self, name: str) -> memoryview:
        info = self.infos[name]
        try:
            view = self._stored(info) if info.compress_type == zipfile.ZIP_STORED else self._unpacked(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, struct.error) as fault:
            raise BadWeights(f"{self.source}: member {name!r} is damaged ({fault})", help=_AGAIN) from None
        if len(view) != info.file_size or zlib.crc32(view) != info.CRC:
            raise BadWeights(f"{self.source}: member {name!r} is damaged (size or checksum)", help=_AGAIN)
        self[name] = view
        return view

    def _stored(self, info: zipfile.ZipInfo) -> memoryview:
        signature, name, extra = struct.unpack_from("<4s22x2H", self.data, info.header_offset)
        if signature != b"PK\x03\x04" or info.flag_bits & 1:
            raise zipfile.BadZipFile("no local header, or encrypted")
        start = info.header_offset + 30 + name + extra
        return memoryview(self.data)[start : start + info.file_size]

    def _unpacked(self, info: zipfile.ZipInfo) -> memoryview:
        self.room -= info.file_size
        if self.room < 0:
            raise BadWeights(f"{self.source}: unpacked, it would be far larger than any weights file (a zip bomb)")
        with self.file.open(info) as member:
            return memoryview(member.read(info.file_size))


class _Prefixed(dict[str, memoryview]):
    """Storages of a zip checkpoint: the members under one prefix."""

    def __init__(self, members: _Members, prefix: str) -> None:
        self.members, self.prefix = members, prefix

    def __contains__(self, key: object) -> bool:
        return f"{self.prefix}{key}" in self.members

    def __missing__(self, key: str) -> memoryview:
        return self.members[f"{self.prefix}{key}"]


# --- the older stream of pickles --------------------------------------------------------------------------------------


def _open_legacy(data: bytes, source: str) -> Checkpoint:
    stream = io.BytesIO(data)
    seen: dict[str, StorageRecord] = {}

    def persistent(identity: object) -> StorageRecord:
        record = storage_record(identity)
        if seen.setdefault(record.key, record).type != record.type:
            raise TypeError("one storage with two element types")
        return record

    dialect = replace(DIALECT, persistent=persistent)
    magic, version = (load_plain(stream, dialect, source) for _ in range(2))
    if magic != _LEGACY_MAGIC or version != _LEGACY_VERSION:
        raise BadWeights(f"{source} is a pickle but no PyTorch checkpoint")
    _, content, keys = (load_plain(stream, dialect, source) for _ in range(3))
    if type(keys) is not list or not all(type(key) is str and key in seen for key in keys):
        raise BadWeights(f"{source}: the list of storages is malformed", help=_AGAIN)
    storages: dict[str, memoryview] = {}
    at = stream.tell()
    for key in keys:
        if at + 8 > len(data):
            raise BadWeights(f"{source} ends before storage {key!r}", help=_AGAIN)
        (count,) = struct.unpack_from("<q", data, at)  # little-endian on every machine, as are the elements
        size = count * seen[key].type.width
        if count < 0 or at + 8 + size > len(data):
            raise BadWeights(f"{source} ends inside storage {key!r}", help=_AGAIN)
        storages[key] = memoryview(data)[at + 8 : at + 8 + size]
        at += 8 + size
    return Checkpoint(content, source, storages, "<", _room(data))
