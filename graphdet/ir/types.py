"""Types of values: element type, symbolic dims, and what the numbers mean (boxes in a frame, logits, scores, labels).

A `Type` prints and parses as `f32[N 3 H W]`, `scores f32[N A 80]`, `boxes<xyxy,net> f32[N K 4]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from graphdet.errors import UnknownName, nearest
from graphdet.ir.dims import Dim, DimLike, parse_dim

FLOATS = ("f32", "f16", "bf16", "f64")
INTEGERS = ("i64", "i32", "u8")
DTYPES = (*FLOATS, *INTEGERS, "b")
KINDS = ("tensor", "logits", "scores", "boxes", "points", "labels", "masks")
FRAMES = ("net", "image", "roi", "unit")
FORMATS = ("xyxy", "cxcywh", "ltrb", "deltas")

_WORDS = {"boxes": (FORMATS, FRAMES), "points": (FRAMES,), "masks": (FRAMES,)}

_NUMPY = {
    "f32": "float32",
    "f16": "float16",
    "f64": "float64",
    "i64": "int64",
    "i32": "int32",
    "u8": "uint8",
    "b": "bool",
}
_NAMES = {v: k for k, v in _NUMPY.items()}
_TEXT = re.compile(r"(?:(?P<kind>[a-z]+)(?:<(?P<params>[^>]*)>)? )?(?P<dtype>[a-z0-9]+)\[(?P<dims>[^\]]*)\]")


@dataclass(frozen=True)
class Type:
    """The type of one value. `format` and `frame` are set for boxes, `frame` alone for points and masks."""

    dtype: str
    dims: tuple[Dim, ...]
    kind: str = "tensor"
    format: str = ""
    frame: str = ""

    @property
    def rank(self) -> int:
        """The number of dims."""
        return len(self.dims)

    @property
    def meaning(self) -> str:
        """The refinement alone: `boxes<xyxy,net>`, `scores`, or `tensor`."""
        parameters = ",".join(p for p in (self.format, self.frame) if p)
        return f"{self.kind}<{parameters}>" if parameters else self.kind

    def with_dims(self, dims: tuple[DimLike, ...]) -> Type:
        """The same meaning with other dims."""
        return replace(self, dims=tuple(Dim.of(d) for d in dims))

    def substitute(self, sizes: Mapping[str, DimLike]) -> Type:
        """The type with some symbols replaced by numbers, or by other dims."""
        return replace(self, dims=tuple(d.substitute(sizes) for d in self.dims))

    def __str__(self) -> str:
        shape = f"{self.dtype}[{' '.join(map(str, self.dims))}]"
        return shape if self.kind == "tensor" else f"{self.meaning} {shape}"


def tensor(dtype: str, *dims: DimLike) -> Type:
    """A plain tensor type."""
    return Type(dtype, tuple(Dim.of(d) for d in dims))


def boxes(frame: str, *dims: DimLike, format: str = "xyxy") -> Type:
    """A float32 type of boxes whose last dim is 4. Raises UnknownName for a misspelt frame or format."""
    return Type(
        "f32", tuple(Dim.of(d) for d in dims), "boxes", known("format", format, FORMATS), known("frame", frame, FRAMES)
    )


def known(what: str, name: str, names: tuple[str, ...]) -> str:
    """`name` itself if it is one of `names`; raises UnknownName with a suggestion otherwise."""
    if name not in names:
        raise UnknownName(f"unknown {what} {name!r}; known: {', '.join(names)}", help=nearest(name, names), about=what)
    return name


def parse_type(text: str, names: Mapping[str, Dim] | Callable[[str], Dim]) -> Type:
    """Read the printed form of a type. Raises ValueError when it is not one."""
    found = _TEXT.fullmatch(text.strip())
    if not found or found["dtype"] not in DTYPES:
        raise ValueError(f"not a type: {text!r}")
    dims = tuple(parse_dim(d, names) for d in found["dims"].split())
    kind, words = found["kind"] or "tensor", tuple((found["params"] or "").split(",")) if found["params"] else ()
    if kind not in KINDS or len(words) != len(_WORDS.get(kind, ())):
        raise ValueError(f"not a type: {text!r}")
    if any(word not in known for word, known in zip(words, _WORDS.get(kind, ()), strict=True)):
        raise ValueError(f"not a type: {text!r}; frames are {', '.join(FRAMES)}, formats {', '.join(FORMATS)}")
    return Type(found["dtype"], dims, kind, words[0] if len(words) == 2 else "", words[-1] if words else "")


def numpy_dtype(dtype: str) -> np.dtype[np.generic]:
    """The NumPy dtype that stores a graph dtype (bf16 has none in NumPy: it is computed as float32)."""
    return np.dtype(_NUMPY.get(dtype, "float32"))


def dtype_name(dtype: np.dtype[np.generic]) -> str:
    """The graph dtype of a NumPy dtype. Raises UnknownName for one that graphs do not have."""
    if dtype.name not in _NAMES:
        raise UnknownName(f"NumPy dtype {dtype.name} has no graph dtype; known: {', '.join(_NAMES)}")
    return _NAMES[dtype.name]
