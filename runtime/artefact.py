"""The `.gdet` file: reading, checking, writing.

Layout, little endian:

    bytes  8   magic
    u32        format version
    u64        length of the header in bytes
    bytes 32   SHA-256 of the header
    header     JSON, UTF-8
    blobs      in table order, each at the next multiple of 64 bytes counted from the start of the file, zeros between

Blob offsets count from the data area, which starts at the first multiple of 64 after the header. Exactly one layout
fits a table, so blobs cannot overlap, and no byte of the file is left unchecked. Nothing in it is run or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from graphdet.errors import (
    CorruptArtefact,
    FutureArtefact,
    InternalError,
    MissingFile,
    NotAnArtefact,
    TruncatedArtefact,
)
from graphdet.records import Array
from graphdet.runtime.fields import REBUILD
from graphdet.runtime.header import FORMAT, Blob, Header, NativeStep, read_header

MAGIC = b"\x89GDET\r\n\x1a"  # a high byte and both line ends, so that text-mode transfers break the first bytes
ALIGN = 64
HEADER_LIMIT = 1 << 24  # bytes
DEPTH = 64  # levels of arrays and objects in the header
_PREFIX = struct.Struct("<8sIQ32s")


@dataclass(frozen=True)
class Artefact:
    """A header and its blobs: in memory (a plain dict) or in a file (read and checked when asked for)."""

    header: Header
    blobs: Mapping[str, bytes]

    def blob(self, name: str) -> bytes:
        """The bytes of one blob.

        Raises:
            CorruptArtefact: there is no such blob, or its checksum is wrong.
        """
        if name not in self.blobs:
            raise CorruptArtefact(f"the artefact has no blob {name!r}", help=REBUILD)
        return self.blobs[name]

    def arrays(self, name: str) -> dict[str, Array]:
        """The arrays of a blob in safetensors layout; an absent blob holds none.

        Raises:
            CorruptArtefact: the blob is not in safetensors layout, or its checksum is wrong.
        """
        return unpack_arrays(self.blob(name), name) if name in self.blobs else {}

    def verify(self) -> None:
        """Read every blob once and check its checksum; raises CorruptArtefact or TruncatedArtefact."""
        for name in self.blobs:
            self.blob(name)


class FileBlobs(Mapping[str, bytes]):
    """Blobs of a file, read and checked by name.

    Plain reads rather than a memory map: a file that shrinks meanwhile gives an error, where a map would end the
    process.
    """

    def __init__(self, path: Path, start: int, table: tuple[Blob, ...]) -> None:
        self._path, self._start = path, start
        self._table = {blob.name: blob for blob in table}

    def __getitem__(self, name: str) -> bytes:
        blob = self._table[name]
        with _open(self._path) as file:
            file.seek(self._start + blob.offset)
            data = _read(file, blob.size, f"blob {name!r}")
        if hashlib.sha256(data).hexdigest() != blob.sha256:
            raise CorruptArtefact(f"{self._path.name}: the checksum of blob {name!r} is wrong", help=REBUILD)
        return data

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def pack_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name in safetensors layout; equal arrays give equal bytes."""
    from safetensors.numpy import save

    return save({name: np.asarray(array, order="C") for name, array in sorted(arrays.items())})


def unpack_arrays(data: bytes, name: str = "arrays") -> dict[str, Array]:
    """Read what `pack_arrays` wrote; raises CorruptArtefact naming the blob."""
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except Exception as error:  # the package raises its own class and, for odd dtypes, KeyError and others
        raise CorruptArtefact(f"blob {name!r} is not in safetensors layout: {error}", help=REBUILD) from error


def read_artefact(path: str | Path) -> Artefact:
    """Read and check the header; blobs are read and checked when asked for (`Artefact.verify` checks all).

    Raises:
        MissingFile: there is no such file.
        NotAnArtefact, TruncatedArtefact, FutureArtefact, CorruptArtefact: the file is foreign, short, newer or damaged.
    """
    path = Path(path)
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        header, end = _read_header(file, size, path)
        _check_layout(header.blobs, end, size, path)
        _check_gaps(file, header.blobs, end, path)
    return Artefact(header, FileBlobs(path, _align(end), header.blobs))


def write_artefact(path: str | Path, artefact: Artefact) -> Header:
    """Write the file in one step: it appears complete under its name or not at all.

    Returns:
        The header with its blob table.

    Raises:
        MissingFile: the folder does not exist.
        InternalError: the header does not survive its own checks.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise MissingFile(f"no such folder: {path.parent}", help="create the folder first")
    # Blobs are hashed and written one by one: the largest blob, not their sum, bounds the memory used.
    header = replace(artefact.header, blobs=_table(artefact.blobs))
    text = _encode(header)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_PREFIX.pack(MAGIC, FORMAT, len(text), hashlib.sha256(text).digest()))
            file.write(text)
            for name in artefact.blobs:
                file.write(bytes(_align(file.tell()) - file.tell()))
                file.write(artefact.blobs[name])
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep other users from reading a deployed engine
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return header


def _table(blobs: Mapping[str, bytes]) -> tuple[Blob, ...]:
    rows, offset = [], 0
    for name in blobs:
        data = blobs[name]
        rows.append(Blob(name, offset, len(data), hashlib.sha256(data).hexdigest()))
        offset = _align(offset + len(data))
    return tuple(rows)


def _encode(header: Header) -> bytes:
    for step in header.plan.steps:
        if isinstance(step, NativeStep) and (step.line.startswith(("/", "\\")) or step.line[1:3] in (":\\", ":/")):
            raise InternalError(f"an artefact must hold no absolute path, found {step.line!r} in step {step.op}")
    try:
        text = json.dumps(header.as_dict(), allow_nan=False, separators=(",", ":")).encode()
        read_header(json.loads(text))
    except (TypeError, ValueError) as error:
        raise InternalError(f"the artefact header cannot be written as JSON: {error}") from error
    except CorruptArtefact as error:
        raise InternalError(f"the artefact header is wrong: {error.message}") from error
    if len(text) > HEADER_LIMIT:
        raise InternalError(f"the artefact header has {len(text)} bytes, more than {HEADER_LIMIT}")
    return text


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFile(f"no such file: {path}", help="`graphdet compile` writes .gdet files") from error
    except IsADirectoryError as error:
        raise NotAnArtefact(f"{path} is a folder, not a .gdet file") from error
    except OSError as error:
        raise MissingFile(f"cannot open {path}: {error.strerror}", help="check the path and the rights") from error


def _read(file: BinaryIO, count: int, what: str) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise TruncatedArtefact(f"{Path(file.name).name} ends inside {what}", help=REBUILD)
    return data


def _read_header(file: BinaryIO, size: int, path: Path) -> tuple[Header, int]:
    magic = file.read(len(MAGIC))
    if not MAGIC.startswith(magic):
        raise NotAnArtefact(f"{path.name} is not a .gdet artefact", help="give a file written by `graphdet compile`")
    _, version, length, digest = _PREFIX.unpack(magic + _read(file, _PREFIX.size - len(magic), "its first fields"))
    if version > FORMAT:
        raise FutureArtefact(
            f"{path.name} has format version {version}, this graphdet reads up to {FORMAT}", help="upgrade graphdet"
        )
    if version < 1 or length > HEADER_LIMIT:
        raise CorruptArtefact(f"{path.name}: format version {version}, header of {length} bytes", help=REBUILD)
    if _PREFIX.size + length > size:
        raise TruncatedArtefact(f"{path.name} ends inside its header", help=REBUILD)
    text = _read(file, length, "its header")
    if hashlib.sha256(text).digest() != digest:
        raise CorruptArtefact(f"{path.name}: the checksum of the header is wrong", help=REBUILD)
    try:
        value = json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_object)
        _check_json(value)
        return read_header(value), _PREFIX.size + length
    except (ValueError, RecursionError) as error:
        raise CorruptArtefact(f"{path.name}: the header is not JSON: {error}", help=REBUILD) from error


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not a number")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Readers disagree on which of two equal keys counts, so neither may occur."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is used twice")
    return fields


def _check_json(value: object) -> None:
    """Raise ValueError for what csrc/engine/json.h refuses too: lone surrogates, and more than DEPTH levels."""
    level = [value]
    for _ in range(DEPTH + 1):
        texts = [item for item in level if isinstance(item, str)]
        texts += [key for item in level if isinstance(item, dict) for key in item]
        "".join(texts).encode()
        holders = [item for item in level if isinstance(item, (dict, list))]
        level = [inner for item in holders for inner in (item.values() if isinstance(item, dict) else item)]
        if not holders:
            return
    raise ValueError(f"more than {DEPTH} levels")


def _check_layout(blobs: tuple[Blob, ...], end: int, size: int, path: Path) -> None:
    start, offset = _align(end), 0
    for blob in blobs:
        if blob.offset != offset:
            raise CorruptArtefact(
                f"{path.name}: blob {blob.name!r} is said to start at {blob.offset}, expected {offset}", help=REBUILD
            )
        end = start + blob.offset + blob.size
        offset = _align(blob.offset + blob.size)
    if size < end:
        raise TruncatedArtefact(f"{path.name} has {size} bytes, its header says {end}", help=REBUILD)
    if size > end:
        raise CorruptArtefact(f"{path.name} has {size - end} bytes after its last blob", help=REBUILD)


def _check_gaps(file: BinaryIO, blobs: tuple[Blob, ...], end: int, path: Path) -> None:
    start = _align(end)
    for blob in blobs:
        file.seek(end)
        if any(_read(file, start + blob.offset - end, f"the space before blob {blob.name!r}")):
            raise CorruptArtefact(f"{path.name}: data in the space before blob {blob.name!r}", help=REBUILD)
        end = start + blob.offset + blob.size


def _align(position: int) -> int:
    return -(-position // ALIGN) * ALIGN
