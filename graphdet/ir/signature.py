"""Signature strings of ops: reading them, matching operand types against them, and the result types that follow.

Grammar: operands, `->`, results, each separated by `, `. An operand is `kind[dims]`; kinds: `f` any float (any
meaning), `i` any integer, `b` bool, a dtype (`i64`), `T` (any dtype and meaning, the same wherever `T` stands, but a
plain scalar has any meaning; `U` is another such variable), `logits`, `scores`, `labels`, `boxes<format,frame>`,
`points<frame>`. An upper-case format or frame is a variable. Dims are names, integers, attribute names, expressions of
those, `*S` (any number of dims). `?` marks an optional operand, `*` after `]` a repeated one, which comes last: the
names that it alone has are fixed for each operand anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphdet.errors import BadAttribute, BadSignature, BakedDim, FrameMismatch, KindMismatch, ShapeMismatch
from graphdet.ir.dims import Dim, parse_dim
from graphdet.ir.graph import Attribute
from graphdet.ir.types import DTYPES, FLOATS, INTEGERS, KINDS, Type

_SLOT = re.compile(r"(?P<kind>[A-Za-z0-9]+)(?:<(?P<params>[A-Za-z,]+)>)?\[(?P<dims>[^\]]*)\](?P<mark>[?*]?)")
TAKE_FROM_VALUE = "take the size from a value, x.dim(axis), instead of writing the number"


@dataclass(frozen=True)
class Slot:
    """One operand or result of a signature."""

    kind: str
    parameters: tuple[str, ...]
    dims: tuple[str, ...]
    optional: bool = False
    repeated: bool = False

    def __str__(self) -> str:
        parameters = f"<{','.join(self.parameters)}>" if self.parameters else ""
        return f"{self.kind}{parameters}[{' '.join(self.dims)}]"


@dataclass
class Match:
    """What matching operands against a signature has fixed so far. `origins`: the operand that fixed a dim."""

    labels: tuple[str, ...]
    dims: dict[str, Dim] = field(default_factory=dict)
    spans: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)
    origins: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Match:
        """One where names that are still free can be fixed for a single operand."""
        return replace(self, dims=dict(self.dims), spans=dict(self.spans), origins=dict(self.origins))

    def __call__(self, name: str) -> Dim:
        """The dim that a name stands for."""
        return self.dims[name]

    def reason(self, pattern: str) -> str:
        """Which operands fixed the names in a dim pattern."""
        names = [n for n in dict.fromkeys(re.findall(r"[A-Za-z_]\w*", pattern)) if n in self.origins]
        found = ", ".join(
            f"{n} = {self.dims[n]} from {self.labels[self.origins[n]]}" for n in names if n != str(self.dims[n])
        )
        return f" ({found})" if found else ""


def parse_signature(signature: str, name: str) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
    """Operand and result slots of a signature string. Raises BadSignature."""
    left, arrow, right = signature.partition("->")
    if not arrow:
        raise BadSignature(f"op {name!r}: signature {signature!r} has no '->'")
    return _slots(left, name), _slots(right, name)


def _slots(text: str, name: str) -> tuple[Slot, ...]:
    found, position = [], 0
    for m in _SLOT.finditer(text):
        between = text[position : m.start()].strip(" ,")
        position = m.end()
        parameters = tuple(p for p in (m["params"] or "").split(",") if p)
        if between or m["kind"] not in (*KINDS, *DTYPES, "f", "i", "T", "U"):
            raise BadSignature(f"op {name!r}: cannot read {between or m[0]!r} in signature part {text.strip()!r}")
        found.append(Slot(m["kind"], parameters, tuple(m["dims"].split()), m["mark"] == "?", m["mark"] == "*"))
    if text[position:].strip(" ,"):
        raise BadSignature(f"op {name!r}: cannot read {text[position:].strip()!r} in signature")
    return tuple(found)


def match_operands(
    sources: Sequence[Slot],
    labels: tuple[str, ...],
    types: tuple[Type | None, ...],
    attributes: Mapping[str, Attribute],
) -> Match:
    """Unify operand types with a signature's operands; attribute values are visible as dims.

    Raises KindMismatch, FrameMismatch, ShapeMismatch, BakedDim or BadAttribute, each about one operand; the message
    starts behind the operand's name.
    """
    dims = {k: Dim.of(v) for k, v in attributes.items() if isinstance(v, (int, Dim)) and not isinstance(v, bool)}
    match = Match(labels, dims)
    if sources and sources[-1].repeated and len(types) < len(sources):
        least = "one operand is" if len(sources) == 1 else f"{len(sources)} operands are"
        raise BadAttribute(f"at least {least} expected")
    for i, found in enumerate(types):
        slot = sources[min(i, len(sources) - 1)]
        if found is None:
            if not slot.optional:
                raise BadAttribute(f"is missing, expected {slot}", about=i)
            continue
        _match_kind(i, slot, found, match)
        _match_dims(i, slot, found, match.copy() if slot.repeated else match)
    return match


def _match_kind(i: int, slot: Slot, found: Type, match: Match) -> None:
    kind = slot.kind
    if kind in ("T", "U"):
        _match_variable(i, kind, found, match)
    elif kind == "f" or kind in ("logits", "scores", "boxes", "points", "masks"):
        if found.dtype not in FLOATS:
            raise KindMismatch(f"is {found}, expected floats", help="cast(x, to='f32') makes it one", about=i)
        match.words.setdefault("float", found.dtype)
        _match_meaning(i, slot, found, match)
    elif kind == "i" or kind == "labels":
        if found.dtype not in INTEGERS:
            raise KindMismatch(f"is {found}, expected integers", about=i)
    elif found.dtype != kind:
        raise KindMismatch(f"is {found}, expected {slot}", help=_CAST_HELP.get((kind, found.kind), ""), about=i)


def _match_variable(i: int, kind: str, found: Type, match: Match) -> None:
    """Dtype and meaning are those of the first operand that the variable stood for; a plain scalar has any meaning."""
    first = match.types.setdefault(kind, found)
    origin = match.labels[match.origins.setdefault(kind, i)]
    if found.dtype != first.dtype:
        help = f"cast(x, to='{first.dtype}') makes it one"
        raise KindMismatch(f"is {found}, expected {first.dtype} as {origin} is", help=help, about=i)
    if found.meaning != first.meaning and not any(t.kind == "tensor" and not t.rank for t in (first, found)):
        error = FrameMismatch if found.kind == first.kind else KindMismatch
        raise error(f"is {found.meaning}, expected {first.meaning} as {origin} is", about=i)


def _match_meaning(i: int, slot: Slot, found: Type, match: Match) -> None:
    """Plain tensors pass for logits (a convolution does not know that it predicts them); nothing else is coerced."""
    kind = slot.kind
    if kind == "f" or (kind == "logits" and found.kind == "tensor"):
        return
    if kind != found.kind:
        shown = "a plain tensor" if found.kind == "tensor" else found.meaning
        raise KindMismatch(
            f"is {shown}, expected {_wanted(slot)}", help=_KIND_HELP.get((kind, found.kind), ""), about=i
        )
    actual = {"boxes": (found.format, found.frame), "points": (found.frame,), "masks": (found.frame,)}.get(kind, ())
    for pattern, have in zip(slot.parameters, actual, strict=True):
        want = match.words.setdefault(pattern, have) if pattern.isupper() else pattern
        if want != have:
            raise FrameMismatch(
                f"is {found.meaning}, expected {_wanted(slot, match)}", help=_FRAME_HELP.get((want, have), ""), about=i
            )


_KIND_HELP = {
    ("logits", "scores"): "these are scores already: a second sigmoid would squash them again",
    ("scores", "logits"): "sigmoid(...) turns logits into scores",
    ("scores", "tensor"): "sigmoid(...) turns a prediction into scores",
    (
        "boxes",
        "tensor",
    ): "a decode op or as_boxes(x, format='xyxy', frame='net') says which format and frame the numbers are in",
}
_CAST_HELP = {("i64", "scores"): "are the operands in order? best_index(...) gives labels"}
_FRAME_HELP = {
    ("net", "image"): "to_image(...) leaves the network's pixels: apply it last",
    ("image", "net"): "to_image(boxes, image.geometry) moves boxes to the original image",
}


def _wanted(slot: Slot, match: Match | None = None) -> str:
    words = ",".join(match.words.get(p, p) if match else p for p in slot.parameters)
    return f"{slot.kind}<{words}>" if words else slot.kind


def _match_dims(i: int, slot: Slot, found: Type, match: Match) -> None:
    star = next((k for k, d in enumerate(slot.dims) if d.startswith("*")), None)
    fixed = len(slot.dims) - (star is not None)
    if found.rank < fixed or (star is None and found.rank != fixed):
        raise ShapeMismatch(f"is {found} with {found.rank} dims, expected {slot}", about=i)
    if star is None:
        pairs = list(enumerate(slot.dims))
    else:
        tail = found.rank - (fixed - star)
        _match_span(i, slot.dims[star][1:], found.dims[star:tail], match)
        pairs = [*enumerate(slot.dims[:star]), *enumerate(slot.dims[star + 1 :], tail)]
    for axis, pattern in pairs:
        _match_dim(i, axis, pattern, found, match)


def _match_span(i: int, name: str, have: tuple[Dim, ...], match: Match) -> None:
    want = match.spans.setdefault(name, have)
    origin = match.origins.setdefault(name, i)
    if want != have:
        raise ShapeMismatch(f"has dims {_show(have)}, expected {_show(want)} as {match.labels[origin]} has", about=i)


def _match_dim(i: int, axis: int, pattern: str, found: Type, match: Match) -> None:
    have = found.dims[axis]
    if pattern.isidentifier() and pattern not in match.dims:
        match.dims[pattern], match.origins[pattern] = have, i
        return
    want = parse_dim(pattern, match)
    if want == have:
        return
    shown = str(want) if pattern in (str(want), str(have)) else f"{pattern} = {want}"
    text = f"is {found}: dim {axis} is {have}, expected {shown}{match.reason(pattern)}"
    if have.constant is not None and want.constant is None:
        raise BakedDim(text, help=TAKE_FROM_VALUE, about=i)
    if have.constant is None and want.constant is not None and pattern in match.origins:
        text = f"has {pattern} = {want}, but {match.labels[i]} is {found} with {pattern} = {have}"
        raise BakedDim(text, help=TAKE_FROM_VALUE, about=match.origins[pattern])
    raise ShapeMismatch(text, about=i)


def _show(dims: tuple[Dim, ...]) -> str:
    return f"[{' '.join(map(str, dims))}]"


def result_type(slot: Slot, match: Match) -> Type:
    """The type of a result, from what the operands have fixed."""
    dims: list[Dim] = []
    for pattern in slot.dims:
        if pattern.startswith("*"):
            dims += match.spans[pattern[1:]]
        else:
            dims.append(parse_dim(pattern, match))
    if slot.kind in match.types:
        return match.types[slot.kind].with_dims(tuple(dims))
    words = [match.words.get(p, p) for p in slot.parameters]
    form, frame = (words[0], words[1]) if len(words) == 2 else ("", words[0] if words else "")
    floating = match.words.get("float", "f32")  # results keep the precision of the first float operand
    dtype = {"i": "i64", "labels": "i64"}.get(slot.kind, slot.kind if slot.kind in DTYPES else floating)
    return Type(dtype, tuple(dims), slot.kind if slot.kind in KINDS else "tensor", form, frame)
