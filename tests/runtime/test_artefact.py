"""The `.gdet` file: round trips, damage of every kind, and headers written with ill intent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphdet.errors import (
    CorruptArtefact,
    FutureArtefact,
    GdError,
    InternalError,
    MissingFile,
    NotAnArtefact,
    TruncatedArtefact,
)
from graphdet.records import Array
from graphdet.runtime import Artefact, read_artefact, write_artefact
from graphdet.runtime.artefact import HEADER_LIMIT, MAGIC, pack_arrays
from graphdet.runtime.header import Bounds, Given, Input, NativeStep, read_header
from tests.runtime.tiny import header, plan

PREFIX = struct.Struct("<8sIQ32s")


def small() -> Artefact:
    arrays: dict[str, Array] = {"v8": np.arange(6, dtype=np.float32).reshape(2, 3), "v9": np.asarray(3, np.int64)}
    return Artefact(header(), {"graph": b"tiny", "empty": b"", "constants": pack_arrays(arrays)})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("artefact") / "small.gdet"
    write_artefact(path, small())
    return path


def rewritten(file: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same file with a changed header and a checksum that fits: what a hostile writer can do."""
    data = file.read_bytes()
    length = PREFIX.unpack_from(data)[2]
    fields = json.loads(data[PREFIX.size : PREFIX.size + length])
    change(fields)
    text = json.dumps(fields).encode()
    old = -(-(PREFIX.size + length) // 64) * 64
    head = PREFIX.pack(MAGIC, 1, len(text), hashlib.sha256(text).digest()) + text
    target.write_bytes(head + bytes(-len(head) % 64) + data[old:])
    return target


def test_round_trip(file: Path) -> None:
    back = read_artefact(file)
    assert replace(back.header, blobs=()) == header()
    assert dict(back.blobs) == dict(small().blobs)
    assert [blob.offset % 64 for blob in back.header.blobs] == [0, 0, 0]
    arrays = back.arrays("constants")
    assert arrays["v9"].shape == ()
    assert arrays["v8"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert back.arrays("absent") == {}


def test_writing_twice_gives_equal_bytes_and_leaves_nothing_else(file: Path, tmp_path: Path) -> None:
    write_artefact(tmp_path / "a.gdet", small())
    write_artefact(tmp_path / "a.gdet", read_artefact(file))
    assert (tmp_path / "a.gdet").read_bytes() == file.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.gdet"]


def test_failed_write_leaves_the_old_file(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.gdet"
    write_artefact(target, small())
    with pytest.raises(InternalError, match="as JSON"):
        write_artefact(target, Artefact(header(certificate={"error": float("nan")}), {}))
    assert target.read_bytes() == file.read_bytes()
    assert len(list(tmp_path.iterdir())) == 1


def test_absolute_paths_are_not_written(tmp_path: Path) -> None:
    steps = (NativeStep("nms", (), ("v3",), line="/home/someone/mine.py:3"),)
    with pytest.raises(InternalError, match="absolute path"):
        write_artefact(tmp_path / "a.gdet", Artefact(header(plan=replace(plan(), steps=steps)), {}))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="absent"):
        read_artefact(tmp_path / "absent.gdet")
    with pytest.raises(MissingFile, match="no such folder"):
        write_artefact(tmp_path / "absent" / "a.gdet", small())
    with pytest.raises(NotAnArtefact, match="folder"):
        read_artefact(tmp_path)


@pytest.mark.parametrize("data", [b"PK\x03\x04 a zip file", b"\x00" * 200, b"x"])
def test_foreign_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.gdet").write_bytes(data)
    with pytest.raises(NotAnArtefact):
        read_artefact(tmp_path / "a.gdet")


def test_every_truncation(file: Path, tmp_path: Path) -> None:
    data, cut = file.read_bytes(), tmp_path / "cut.gdet"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        with pytest.raises(TruncatedArtefact):
            read_artefact(cut)


def test_trailing_bytes(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.gdet").write_bytes(file.read_bytes() + b"x")
    with pytest.raises(CorruptArtefact, match="after its last blob"):
        read_artefact(tmp_path / "a.gdet")


def test_future_version(file: Path, tmp_path: Path) -> None:
    data = bytearray(file.read_bytes())
    data[8] = 2
    (tmp_path / "a.gdet").write_bytes(data)
    with pytest.raises(FutureArtefact, match="version 2"):
        read_artefact(tmp_path / "a.gdet")


@pytest.mark.parametrize(
    ("length", "error"),
    [(HEADER_LIMIT + 1, CorruptArtefact), ((1 << 64) - 1, CorruptArtefact), (HEADER_LIMIT, TruncatedArtefact)],
)
def test_huge_header(tmp_path: Path, length: int, error: type[GdError]) -> None:
    (tmp_path / "a.gdet").write_bytes(PREFIX.pack(MAGIC, 1, length, bytes(32)) + b"{}")
    with pytest.raises(error):
        read_artefact(tmp_path / "a.gdet")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_bit_counts(file: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << (bit % 8)
    (tmp_path / "a.gdet").write_bytes(content)
    with pytest.raises(GdError):
        read_artefact(tmp_path / "a.gdet").verify()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.binary(max_size=300))
def test_any_header_bytes(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.gdet").write_bytes(PREFIX.pack(MAGIC, 1, len(text), hashlib.sha256(text).digest()) + text)
    with pytest.raises(CorruptArtefact):
        read_artefact(tmp_path / "a.gdet")


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"format": NaN}', b"\xff\xfe", b"1" * 10_000, b"null"])
def test_hostile_json(tmp_path: Path, text: bytes) -> None:
    test_any_header_bytes.hypothesis.inner_test(tmp_path, text)  # type: ignore[attr-defined]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


OPEN = Input(None, None, Bounds((64, 64), (64, 96)), {"proposals.boxes": Given("f32", (10, 4), "boxes<xyxy,image>")})


def places(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every field inside decoded JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, item in inner for path in ((*at, key), *places(item, (*at, key)))]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_value_in_any_field(data: st.DataObject) -> None:
    fields = json.loads(json.dumps(header(input=OPEN).as_dict()))
    *path, last = data.draw(st.sampled_from(places(fields)))
    holder = fields
    for key in path:
        holder = holder[key]
    holder[last] = data.draw(JSON)
    with contextlib.suppress(CorruptArtefact, FutureArtefact):  # any other exception fails the test
        back = read_header(fields)
        assert read_header(json.loads(json.dumps(back.as_dict()))) == back


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.pop("target"), "field target is missing"),
        (lambda h: h.update(target="cuda"), "target: expected one of openvino"),
        (lambda h: h["input"].update(batch=0), "input.batch"),
        (lambda h: h["input"].update(size=[640]), "input.size"),
        (lambda h: h["input"].update(bounds=[[64, 64], [32, 64]]), "input.bounds: expected the least and the most"),
        (lambda h: h["input"].update(size=[64, 64], bounds=[[64, 64], [64, 64]]), "input.bounds"),
        (lambda h: h["input"].update(bounds=[[64, 64]]), "input.bounds: expected an array of 2"),
        (lambda h: h["input"].update(given={"x": {"dtype": "f64"}}), "input.given.x"),
        (lambda h: h["input"].update(given={"x": {"dtype": "f32", "shape": [1, 0], "meaning": "t"}}), r"x.shape\[1\]"),
        (lambda h: h["input"].update(given={"x": {"dtype": "f32", "shape": [1] * 4, "meaning": "t"}}), "at most 3"),
        (lambda h: h["preprocess"].update(std=[0, 1, 1]), "preprocess.std: expected positive"),
        (lambda h: h["preprocess"].update(gamma=2), "known fields only"),
        (lambda h: h["plan"]["outputs"].pop("count"), "plan.outputs.count"),
        (lambda h: h["plan"]["steps"][1].update(op="__import__"), "the name of a native op"),
        (lambda h: h["plan"]["steps"][1].update(outputs=[1]), r"plan.steps\[1\].outputs\[0\]: expected a string"),
        (lambda h: h["blobs"][1].update(offset=0), "'empty' is said to start at 0, expected 64"),
        (lambda h: h["blobs"][1].update(offset=63), "start at 63"),
        (lambda h: h["blobs"][1].update(name="graph"), "a name used once"),
        (lambda h: h["blobs"][2].update(offset=1 << 61), "start at"),
        (lambda h: h["blobs"][2].update(size=-1), "size"),
        (lambda h: h["blobs"].pop(), "after its last blob"),
    ],
)
def test_field_messages(file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    with pytest.raises(CorruptArtefact, match=words):
        read_artefact(rewritten(file, tmp_path / "a.gdet", change))


def test_blob_beyond_the_end(file: Path, tmp_path: Path) -> None:
    with pytest.raises(TruncatedArtefact):
        read_artefact(rewritten(file, tmp_path / "a.gdet", lambda h: h["blobs"][2].update(size=1 << 60)))


def test_blob_that_is_not_safetensors() -> None:
    with pytest.raises(CorruptArtefact, match="safetensors"):
        Artefact(header(), {"constants": b"\x80\x04junk"}).arrays("constants")
    with pytest.raises(CorruptArtefact, match="no blob 'segment:dense0'"):
        small().blob("segment:dense0")
