"""The JSON header of a `.gdet` file as typed records, and the one place where it is read and checked.

Every record has `as_dict` (JSON-ready) and a `read_...` function that raises CorruptArtefact with the field's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any

from graphdet.errors import FutureArtefact
from graphdet.records import Preprocess
from graphdet.runtime import fields as check

FORMAT = 1
TARGETS = ("openvino", "onnxruntime", "onnx", "torch")
CPP_TARGETS = ("tensorrt", "tensorrt-rtx")  # only the C++ library runs these, where it was built with TensorRT
GRAPH_INPUTS = ("pixels", "size", "geometry")
DETECTIONS = ("boxes", "scores", "labels", "count")
MASKS = ("", "roi", "net")  # the box of each object, or the padded network input
SIDE_LIMIT = 1 << 15  # pixels of one image side
BATCH_LIMIT = 1 << 12
GIVEN_LIMIT = 1 << 20  # of one side of a given input
GIVEN_RANK = 3  # of one image's block
INT_LIMIT = 1 << 62
ARENA_ALIGN = 64  # bytes

_OP = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Bounds:
    """The least and the most (height, width) of an open network input, in pixels, both included."""

    least: tuple[int, int]
    most: tuple[int, int]

    def __str__(self) -> str:
        """`480..800x640..1344`: heights, then widths."""
        return "x".join(f"{low}..{high}" for low, high in zip(self.least, self.most, strict=True))


@dataclass(frozen=True)
class Given:
    """A graph input that comes with the images: of each a block of numbers, `f32` or `i64`.

    meaning: what the graph's types say of it, such as `tensor` or `boxes<xyxy,image>`.
    """

    dtype: str
    shape: tuple[int, ...]
    meaning: str = "tensor"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"dtype": self.dtype, "shape": list(self.shape), "meaning": self.meaning}


@dataclass(frozen=True)
class Input:
    """What the engine takes: batch (None = any) and (height, width) of the network input in pixels (None = any).

    bounds: of an open size · given: what comes with the images beside their pixels, by name.
    """

    batch: int | None = None
    size: tuple[int, int] | None = None
    bounds: Bounds | None = None
    given: dict[str, Given] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; an open batch or size is the word `dynamic`."""
        bounds = [list(self.bounds.least), list(self.bounds.most)] if self.bounds else None
        more = {"bounds": bounds, "given": {name: row.as_dict() for name, row in self.given.items()}}
        return {
            "batch": "dynamic" if self.batch is None else self.batch,
            "size": "dynamic" if self.size is None else list(self.size),
            **{key: value for key, value in more.items() if value},
        }


@dataclass(frozen=True)
class SegmentStep:
    """Run a compiled segment (blob `segment:<segment>`) on named values."""

    segment: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": "segment",
            "segment": self.segment,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
        }


@dataclass(frozen=True)
class NativeStep:
    """Call a kernel of `graphdet.runtime._C`; None stands for an absent operand, `line` is the op's declaring line."""

    op: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    line: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": "native",
            "op": self.op,
            "inputs": list(self.inputs),
            "attrs": dict(self.attrs),
            "outputs": list(self.outputs),
            "line": self.line,
        }


Step = SegmentStep | NativeStep


@dataclass(frozen=True)
class Plan:
    """Steps in running order, the value name of each output, and the planned memory."""

    steps: tuple[Step, ...]
    outputs: dict[str, str]
    memory: dict[str, Any] = field(default_factory=lambda: {"bytes": 0, "buffers": {}})

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "steps": [step.as_dict() for step in self.steps],
            "outputs": dict(self.outputs),
            "memory": dict(self.memory),
        }


@dataclass(frozen=True)
class Blob:
    """One row of the blob table. offset: bytes from the start of the data area; sha256: lower-case hex."""

    name: str
    offset: int
    size: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"name": self.name, "offset": self.offset, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Header:
    """Everything a `.gdet` file says beside its blobs. `blobs` is filled in by the writer.

    masks: what a grid of the plan output `masks` spans, one of `MASKS`; empty for a detector without masks.
    """

    detector: str
    target: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    input: Input
    thresholds: dict[str, float]
    plan: Plan
    clip: bool = True
    masks: str = ""
    certificate: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    blobs: tuple[Blob, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; `read_header` reads it back."""
        return {
            "format": FORMAT,
            "detector": self.detector,
            "target": self.target,
            "classes": list(self.classes),
            "preprocess": self.preprocess.as_dict(),
            "clip": self.clip,
            "masks": self.masks,
            "input": self.input.as_dict(),
            "thresholds": dict(self.thresholds),
            "plan": self.plan.as_dict(),
            "certificate": self.certificate,
            "provenance": self.provenance,
            "blobs": [blob.as_dict() for blob in self.blobs],
        }


def read_header(value: object) -> Header:
    """Check decoded JSON field by field.

    Raises:
        CorruptArtefact: a field is missing, has another type, or a value out of range; the message names it.
        FutureArtefact: the header's format number is newer than this version knows.
    """
    top = check.mapping(value, "header")

    def get(key: str) -> Any:
        return check.member(top, key, "")

    if check.integer(get("format"), "format", 1, INT_LIMIT) > FORMAT:
        raise FutureArtefact(f"format {top['format']} is newer than {FORMAT}", help="upgrade graphdet")
    thresholds = check.mapping(get("thresholds"), "thresholds")
    masks = check.choice(top.get("masks", ""), "masks", MASKS)
    plan = _read_plan(check.mapping(get("plan"), "plan"))
    if bool(masks) != ("masks" in plan.outputs):
        check.fail("masks", "a word exactly where the plan has an output of that name", masks)
    return Header(
        detector=check.text(get("detector"), "detector"),
        target=check.choice(get("target"), "target", TARGETS + CPP_TARGETS),
        classes=_names(get("classes"), "classes"),
        preprocess=_read_preprocess(check.mapping(get("preprocess"), "preprocess")),
        input=_read_input(check.mapping(get("input"), "input")),
        thresholds={key: check.number(item, f"thresholds.{key}") for key, item in thresholds.items()},
        plan=plan,
        clip=check.flag(get("clip"), "clip"),
        masks=masks,
        certificate=check.mapping(get("certificate"), "certificate"),
        provenance=check.mapping(get("provenance"), "provenance"),
        blobs=_read_blobs(check.items(get("blobs"), "blobs")),
    )


def _names(value: object, at: str) -> tuple[str, ...]:
    return tuple(check.name(item, f"{at}[{i}]") for i, item in enumerate(check.items(value, at)))


def _size(value: object, at: str) -> tuple[int, int]:
    height, width = (check.integer(side, at, 1, SIDE_LIMIT) for side in check.sized(value, at, 2))
    return height, width


def _triple(value: object, at: str) -> tuple[float, float, float]:
    first, second, third = (check.number(item, at) for item in check.sized(value, at, 3))
    return first, second, third


def _read_preprocess(row: dict[str, Any]) -> Preprocess:
    # A field that is unknown here would change the pixels, so passing over it would give wrong detections silently.
    unknown = sorted(set(row) - {item.name for item in fields(Preprocess)})
    if unknown:
        check.fail("preprocess", "known fields only", unknown)

    def get(key: str) -> Any:
        return check.member(row, key, "preprocess")

    std = _triple(get("std"), "preprocess.std")
    if min(std) <= 0:
        check.fail("preprocess.std", "positive numbers", row["std"])
    return Preprocess(
        order=check.choice(get("order"), "preprocess.order", ("bgr", "rgb")),
        mean=_triple(get("mean"), "preprocess.mean"),
        std=std,
        size=_size(get("size"), "preprocess.size"),
        fit=check.choice(get("fit"), "preprocess.fit", ("letterbox", "short_side", "stretch")),
        pad=check.number(get("pad"), "preprocess.pad"),
        divisor=check.integer(get("divisor"), "preprocess.divisor", 1, SIDE_LIMIT),
    )


def _read_input(row: dict[str, Any]) -> Input:
    batch, size = check.member(row, "batch", "input"), check.member(row, "size", "input")
    given = check.mapping(row.get("given", {}), "input.given")
    return Input(
        batch=None if batch == "dynamic" else check.integer(batch, "input.batch", 1, BATCH_LIMIT),
        size=None if size == "dynamic" else _size(size, "input.size"),
        bounds=_read_bounds(row["bounds"], dynamic=size == "dynamic") if "bounds" in row else None,
        given={name: _read_given(item, f"input.given.{name}") for name, item in given.items()},
    )


def _read_bounds(value: object, *, dynamic: bool) -> Bounds:
    least, most = (_size(end, "input.bounds") for end in check.sized(value, "input.bounds", 2))
    if not dynamic or any(low > high for low, high in zip(least, most, strict=True)):
        check.fail("input.bounds", "the least and the most of a dynamic size", value)
    return Bounds(least, most)


def _read_given(value: object, at: str) -> Given:
    row = check.mapping(value, at)
    sides = check.items(check.member(row, "shape", at), f"{at}.shape")
    if len(sides) > GIVEN_RANK:
        check.fail(f"{at}.shape", f"at most {GIVEN_RANK} sides", sides)
    return Given(
        dtype=check.choice(check.member(row, "dtype", at), f"{at}.dtype", ("f32", "i64")),
        shape=tuple(check.integer(side, f"{at}.shape[{i}]", 1, GIVEN_LIMIT) for i, side in enumerate(sides)),
        meaning=check.name(check.member(row, "meaning", at), f"{at}.meaning"),
    )


def _read_plan(row: dict[str, Any]) -> Plan:
    steps = check.items(check.member(row, "steps", "plan"), "plan.steps")
    outputs = check.mapping(check.member(row, "outputs", "plan"), "plan.outputs")
    for key in DETECTIONS:
        check.member(outputs, key, "plan.outputs")
    memory = check.mapping(check.member(row, "memory", "plan"), "plan.memory")
    _check_memory(memory)
    return Plan(
        steps=tuple(_read_step(step, f"plan.steps[{i}]") for i, step in enumerate(steps)),
        outputs={key: check.name(value, f"plan.outputs.{key}") for key, value in outputs.items()},
        memory=memory,
    )


def _check_memory(memory: dict[str, Any]) -> None:
    total = check.integer(check.member(memory, "bytes", "plan.memory"), "plan.memory.bytes", 0, INT_LIMIT)
    for name, value in check.mapping(check.member(memory, "buffers", "plan.memory"), "plan.memory.buffers").items():
        at = f"plan.memory.buffers.{name}"
        row = check.mapping(value, at)
        count = check.integer(check.member(row, "bytes", at), f"{at}.bytes", 0, total)
        offset = check.integer(check.member(row, "offset", at), f"{at}.offset", 0, total - count)
        if offset % ARENA_ALIGN:
            check.fail(f"{at}.offset", f"a multiple of {ARENA_ALIGN}", offset)


def _read_step(value: object, at: str) -> Step:
    row = check.mapping(value, at)
    kind = check.choice(check.member(row, "kind", at), f"{at}.kind", ("segment", "native"))
    inputs = check.items(check.member(row, "inputs", at), f"{at}.inputs")
    outputs = _names(check.member(row, "outputs", at), f"{at}.outputs")
    if kind == "segment":
        segment = check.name(check.member(row, "segment", at), f"{at}.segment")
        return SegmentStep(segment, _names(inputs, f"{at}.inputs"), outputs)
    op = check.name(check.member(row, "op", at), f"{at}.op")
    if not _OP.fullmatch(op):
        check.fail(f"{at}.op", "the name of a native op", op)
    attrs = check.mapping(row.get("attrs", {}), f"{at}.attrs")
    return NativeStep(
        op=op,
        inputs=tuple(None if item is None else check.name(item, f"{at}.inputs") for item in inputs),
        outputs=outputs,
        attrs={key: _attribute(item, f"{at}.attrs.{key}") for key, item in attrs.items()},
        line=check.text(row.get("line", ""), f"{at}.line"),
    )


def _attribute(value: object, at: str) -> Any:
    if isinstance(value, list):
        return tuple(_attribute(item, at) for item in value)
    if isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return check.integer(value, at, -INT_LIMIT, INT_LIMIT)
    return check.number(value, at)


def _read_blobs(rows: list[Any]) -> tuple[Blob, ...]:
    blobs: list[Blob] = []
    for i, item in enumerate(rows):
        at = f"blobs[{i}]"
        row = check.mapping(item, at)
        sha = check.text(check.member(row, "sha256", at), f"{at}.sha256")
        if not _SHA256.fullmatch(sha):
            check.fail(f"{at}.sha256", "64 hexadecimal digits", sha)
        name = check.name(check.member(row, "name", at), f"{at}.name")
        if any(blob.name == name for blob in blobs):
            check.fail(f"{at}.name", "a name used once", name)
        offset = check.integer(check.member(row, "offset", at), f"{at}.offset", 0, INT_LIMIT)
        size = check.integer(check.member(row, "size", at), f"{at}.size", 0, INT_LIMIT)
        blobs.append(Blob(name, offset, size, sha))
    return tuple(blobs)
