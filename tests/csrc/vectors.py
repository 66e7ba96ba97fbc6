"""Files that readers must judge alike, kept in csrc/tests/vectors for the readers of both languages.

`make golden` writes them again, as after a change of the format; each name begins with the error's code.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graphdet.runtime import write_artefact
from graphdet.runtime.artefact import MAGIC
from tests.runtime.test_artefact import small

FOLDER = Path(__file__).resolve().parents[2] / "csrc" / "tests" / "vectors"
PREFIX = struct.Struct("<8sIQ32s")

Fields = dict[str, Any]


def vectors(folder: Path) -> dict[str, tuple[bytes, str]]:
    """File name -> its bytes, and words that the message of both readers holds; `folder` is for scratch."""
    write_artefact(folder / "good.gdet", small())
    good = (folder / "good.gdet").read_bytes()
    length = PREFIX.unpack_from(good)[2]
    end = PREFIX.size + length
    start = -(-end // 64) * 64

    def flipped(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]

    def headed(text: bytes, version: int = 1) -> bytes:
        head = PREFIX.pack(MAGIC, version, len(text), hashlib.sha256(text).digest()) + text
        return head + bytes(-len(head) % 64) + good[start:]

    def changed(change: Callable[[Fields], object]) -> bytes:
        fields = json.loads(good[PREFIX.size : end])
        change(fields)
        return headed(json.dumps(fields).encode())

    def buffers(**rows: Fields) -> bytes:
        return changed(lambda f: f["plan"].update(memory={"bytes": 128, "buffers": rows}))

    def asked(**fields: object) -> bytes:
        return changed(lambda f: f["input"].update(fields))

    def given(**row: object) -> bytes:
        return asked(given={"boxes": {"dtype": "f32", "shape": [1000, 4], "meaning": "boxes<xyxy,image>", **row}})

    return {
        "good": (good, ""),
        "good-given": (given(), ""),
        "good-bounds": (asked(size="dynamic", bounds=[[480, 640], [800, 1344]]), ""),
        "GD400-zip": (b"PK\x03\x04" + bytes(60), "is not a .gdet artefact"),
        "GD400-line-ends": (good.replace(b"\r\n", b"\n"), "is not a .gdet artefact"),
        "GD401-empty": (b"", "ends inside its first fields"),
        "GD401-header": (good[: end - 1], "ends inside its header"),
        "GD401-blob": (good[:-1], "its header says"),
        "GD402-version": (
            headed(good[PREFIX.size : end], version=2),
            "has format version 2, this graphdet reads up to",
        ),
        "GD402-field": (changed(lambda f: f.update(format=2)), "newer than"),
        "GD403-version": (headed(good[PREFIX.size : end], version=0), "format version 0"),
        "GD403-header-hash": (flipped(PREFIX.size + 9), "the checksum of the header is wrong"),
        "GD403-blob-hash": (flipped(len(good) - 1), "the checksum of blob 'constants' is wrong"),
        "GD403-gap": (flipped(start + 4), "data in the space before blob"),
        "GD403-tail": (good + b"\0", "after its last blob"),
        "GD403-offset": (changed(lambda f: f["blobs"][0].update(offset=64)), "is said to start at 64, expected 0"),
        "GD403-json": (headed(good[PREFIX.size : end - 1]), "the header is not JSON"),
        "GD403-missing": (changed(lambda f: f.pop("classes")), "field classes is missing"),
        "GD403-type": (changed(lambda f: f.update(clip=1)), "field clip: expected true or false, found 1"),
        "GD403-kind": (
            changed(lambda f: f["plan"]["steps"][1].update(kind="code")),
            "artefact header, field plan.steps[1].kind: expected ",
        ),
        "GD403-given-dtype": (given(dtype="b"), "field input.given.boxes.dtype: expected "),
        "GD403-given-shape": (given(shape=[1, 1, 1, 4]), "input.given.boxes.shape: expected at most 3 sides"),
        "GD403-given-side": (given(shape=[1 << 21, 4]), "field input.given.boxes.shape[0]: expected an integer in"),
        "GD403-bounds": (
            asked(size="dynamic", bounds=[[480, 640], [800, 320]]),
            "field input.bounds: expected the least and the most of a dynamic size",
        ),
        "GD403-bounds-of-a-size": (asked(size=[64, 64], bounds=[[64, 64], [64, 64]]), "field input.bounds: expected "),
        "GD403-room": (buffers(v3={"offset": 96, "bytes": 48}), "field plan.memory.buffers.v3.offset: expected "),
        "GD403-align": (
            buffers(v3={"offset": 8, "bytes": 48}),
            "plan.memory.buffers.v3.offset: expected a multiple of 64",
        ),
    }
