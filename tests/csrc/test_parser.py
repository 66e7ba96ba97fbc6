"""The C++ reader of `.gdet` files says the same as Python's, of good files and of every kind of damage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphdet.errors import GdError
from graphdet.runtime import read_artefact, write_artefact
from graphdet.runtime.artefact import DEPTH, HEADER_LIMIT, MAGIC
from tests.runtime.test_artefact import JSON, PREFIX, places, rewritten, small

pytest.importorskip("graphdet.runtime._C", reason="the kernel extension is not built")

LOOSE = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("parser") / "small.gdet"
    write_artefact(path, small())
    return path


def verdicts(path: Path) -> tuple[str, str]:
    """The error codes of Python and of C++; empty where every byte is right."""
    from graphdet.runtime import _C

    try:
        read_artefact(path).verify()
        python = ""
    except GdError as error:
        python = error.code
    return python, _C._check_artefact(str(path)).split(":")[0]


def agreed(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    python, native = verdicts(path)
    assert python == native
    return python


def with_header(text: bytes) -> bytes:
    return PREFIX.pack(MAGIC, 1, len(text), hashlib.sha256(text).digest()) + text


def header_fields(file: Path) -> dict[str, object]:
    data = file.read_bytes()
    fields: dict[str, object] = json.loads(data[PREFIX.size : PREFIX.size + PREFIX.unpack_from(data)[2]])
    return fields


def test_good_missing_and_foreign(file: Path, tmp_path: Path) -> None:
    assert verdicts(file) == ("", "")
    assert verdicts(tmp_path / "absent.gdet") == ("GD520", "GD520")
    assert verdicts(tmp_path) == ("GD400", "GD400")
    for content in (b"PK\x03\x04 a zip file", bytes(200), b"x"):
        assert agreed(tmp_path / "a.gdet", content) == "GD400"


def test_every_truncation(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    for length in range(len(data)):
        assert agreed(tmp_path / "a.gdet", data[:length]) == "GD401"
    assert agreed(tmp_path / "a.gdet", data + b"\0") == "GD403"


def test_flipped_bits(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    found = set()
    first = [*range(PREFIX.size * 8)]
    for bit in [*first, *range(PREFIX.size * 8, len(data) * 8, 5)]:
        content = bytearray(data)
        content[bit // 8] ^= 1 << (bit % 8)
        found.add(agreed(tmp_path / "a.gdet", bytes(content)))
    assert found == {"GD400", "GD401", "GD402", "GD403"}


@pytest.mark.parametrize("length", [0, 1, HEADER_LIMIT, HEADER_LIMIT + 1, (1 << 63) + 1, (1 << 64) - 1])
@pytest.mark.parametrize("version", [0, 1, 2, (1 << 32) - 1])
def test_first_fields(tmp_path: Path, length: int, version: int) -> None:
    assert agreed(tmp_path / "a.gdet", PREFIX.pack(MAGIC, version, length, bytes(32)) + b"{}") != ""


@LOOSE
@given(text=st.binary(max_size=300))
def test_any_header_bytes(tmp_path: Path, text: bytes) -> None:
    assert agreed(tmp_path / "a.gdet", with_header(text)) == "GD403"


@LOOSE
@given(data=st.data())
def test_any_value_in_any_field(file: Path, tmp_path: Path, data: st.DataObject) -> None:
    *path, last = data.draw(st.sampled_from(places(header_fields(file))))
    value = data.draw(JSON)

    def change(fields: dict[str, object]) -> None:
        holder: object = fields
        for key in path:
            holder = holder[key]  # type: ignore[index]
        holder[last] = value  # type: ignore[index]

    rewritten(file, tmp_path / "a.gdet", change)
    python, native = verdicts(tmp_path / "a.gdet")
    assert python == native


def test_masks_need_a_frame_and_a_plan_that_makes_them(file: Path, tmp_path: Path) -> None:
    def verdict(frame: object, made: bool) -> str:
        def change(fields: dict[str, Any]) -> None:
            fields["masks"] = frame
            if made:
                fields["plan"]["outputs"]["masks"] = "v8"

        path = rewritten(file, tmp_path / "a.gdet", change)
        python, native = verdicts(path)
        assert python == native
        return python

    assert [verdict(frame, made=True) for frame in ("roi", "net")] == ["", ""]
    assert verdict("", made=False) == ""
    assert verdict("", made=True) == "GD403"
    for frame in ("roi", "net"):
        assert verdict(frame, made=False) == "GD403"
    for wrong in ("image", "ROI", 1, None, True, ["roi"]):
        assert verdict(wrong, made=True) == verdict(wrong, made=False) == "GD403"
    absent = rewritten(file, tmp_path / "a.gdet", lambda fields: fields.pop("masks"))
    assert verdicts(absent) == ("", "")
    fields = header_fields(absent)
    assert "masks" not in fields


# Values of a field that nobody interprets: what decides is whether both accept the text as JSON.
TEXTS = {
    b"1e400": "",
    b"-1e-400": "",
    b"-0": "",
    b"1" * 4300: "",
    b"1" * 4301: "GD403",
    b"01": "GD403",
    b"+1": "GD403",
    b"1.": "GD403",
    b"NaN": "GD403",
    b"-Infinity": "GD403",
    b'"\\ud83d\\ude00"': "",
    b'"\\ud83d"': "GD403",
    b'"\\ude00\\ud83d"': "GD403",
    b'"\xed\xa0\x80"': "GD403",
    b'"\xc0\xaf"': "GD403",
    b'"\xf0\x9f\x98\x80\x7f"': "",
    b'"\n"': "GD403",
    b'"\\x41"': "GD403",
    b'{"a": 1, "a": 1}': "GD403",
    b'{"a": 1, "\\u0061": 1}': "GD403",
    b"[1,]": "GD403",
    b"[" * (DEPTH - 2) + b"]" * (DEPTH - 2): "",
    b"[" * (DEPTH - 1) + b"]" * (DEPTH - 1): "GD403",
    b"[" * 100_000: "GD403",
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items(), ids=lambda item: str(item)[:24])
def test_json_texts(file: Path, tmp_path: Path, text: bytes, expected: str) -> None:
    fields = header_fields(file)
    fields.update(provenance={"x": "HERE"}, blobs=[])
    header = json.dumps(fields).encode().replace(b'"HERE"', text)
    assert agreed(tmp_path / "a.gdet", with_header(header)) == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-8-sig"])
def test_headers_in_other_encodings(file: Path, tmp_path: Path, encoding: str) -> None:
    text = json.dumps({**header_fields(file), "blobs": []}).encode(encoding)
    assert agreed(tmp_path / "a.gdet", with_header(text)) == "GD403"
