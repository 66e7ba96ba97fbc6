"""Op declarations: a signature string that is the type rule, and slots for everything else that is known about the op.

```
@op("f[N C H W], f[O I K L], f[O]? -> f[N O (H+2*padding-K)//stride+1 (W+2*padding-L)//stride+1]")
def conv2d(x, weight, bias=None, *, stride=1, padding=0): ...
```
Grammar of a signature: operands, `->`, results, each separated by `, `. An operand is `kind[dims]`; kinds: `f` any float
(any meaning), `i` any integer, `b` bool, a dtype (`i64`), `T` (any dtype and meaning, the same wherever `T` stands),
`logits`, `scores`, `labels`, `boxes<format,frame>`, `points<frame>`. An upper-case format or frame is a variable. Dims are names, integers,
attribute names, expressions of those, `*S` (any number of dims). `?` marks an optional operand, `*` after `]` a repeated one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from graphdet.errors import BadAttribute, BadSignature, BakedDim, FrameMismatch, GdError, KindMismatch, ShapeMismatch, nearest
from graphdet.ir.dims import Dim, parse_dim
from graphdet.ir.graph import Attribute, Node, Value
from graphdet.ir.source import Places, here, render
from graphdet.ir.types import DTYPES, FLOATS, FORMATS, FRAMES, INTEGERS, KINDS, Type

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[..., Any]
F = TypeVar("F", bound=Rule)

TRAIN, ROWWISE, NATIVE, FP32, SAME = "TRAIN", "ROWWISE", "NATIVE", "FP32", "SAME"
TRAITS = {
    TRAIN: "only training needs it; its results may flow only into losses",
    ROWWISE: "each row of the result depends on the same row of the operands alone, so rows may be selected first",
    NATIVE: "belongs to the runtime (data-dependent selection); the plan runs it between dense segments",
    FP32: "computed in float32 whatever the precision policy",
    SAME: "the result has the type of the first operand",
}
OPS: dict[str, Op[..., Any]] = {}

_SLOT = re.compile(r"(?P<kind>[A-Za-z0-9]+)(?:<(?P<params>[A-Za-z,]+)>)?\[(?P<dims>[^\]]*)\](?P<mark>[?*]?)")


@dataclass(frozen=True)
class Slot:
    """One operand or result of a signature."""

    kind: str
    parameters: tuple[str, ...]
    dims: tuple[str, ...]
    optional: bool = False
    repeated: bool = False


@dataclass
class Match:
    """What matching operands against a signature has fixed so far."""

    dims: dict[str, Dim] = field(default_factory=dict)
    spans: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)

    def __call__(self, name: str) -> Dim:
        return self.dims[name]


class Op(Generic[P, R]):
    """A declared op. Calling it inside a trace adds a node; its methods register rules (each returns the rule unchanged)."""

    def __init__(self, declaration: Callable[P, R], signature: str, traits: Sequence[str], name: str) -> None:
        self.name, self.signature, self.traits = name, signature, frozenset(traits)
        self.doc = inspect.getdoc(declaration) or ""
        self.module = declaration.__module__
        parameters = inspect.signature(declaration).parameters.values()
        self.operands = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.sources, self.results = parse_signature(signature, name)
        self.rules: dict[str, Rule] = {}
        self.absences: dict[str, str] = {}
        self.onnx_opset = 18
        self.native_name, self.native_fixed = "", dict[str, Attribute]()
        self.__doc__, self.__name__ = self.doc, name

    def __call__(self, *operands: P.args, **attributes: P.kwargs) -> R:
        from graphdet.ir.trace import current, lift  # the open trace calls ops; ops need it only when called

        places = here()
        values, given = self._bind(operands, attributes, places)
        lifted = tuple(lift(v, self.name) for v in values)
        types = self.infer_types(tuple(v and v.type for v in lifted), given, lifted, places)
        node = Node.make(cast("Op[..., Any]", self), lifted, given, types, places, current().path)
        return cast(R, current().add(node))

    def _bind(
        self, operands: Sequence[Any], attributes: Mapping[str, Any], places: Places
    ) -> tuple[tuple[Any, ...], dict[str, Attribute]]:
        given, named = dict(self.defaults), []
        for key, value in attributes.items():
            if key in self.operands:
                named.append(key)
            elif key not in self.defaults:
                raise BadAttribute(
                    f"{self.name}: unknown attribute {key!r}; it has {', '.join(self.defaults) or 'none'}",
                    where=render(places, key),
                    help=nearest(key, self.defaults),
                )
            else:
                given[key] = check_attribute(self.name, key, value, places)
        for key, value in given.items():
            if value is inspect.Parameter.empty:
                raise BadAttribute(f"{self.name}: attribute {key!r} must be given", where=render(places))
        values = list(operands)
        if not self.variadic:
            if len(values) + len(named) > len(self.operands):
                raise BadAttribute(f"{self.name} takes {len(self.operands)} operands, {len(values)} were given", where=render(places))
            values += [attributes.get(name) for name in self.operands[len(values) :]]
        return tuple(values), given

    def infer_types(
        self,
        types: tuple[Type | None, ...],
        attributes: Mapping[str, Attribute],
        values: tuple[Value | None, ...] = (),
        places: Places = (),
    ) -> tuple[Type, ...]:
        """Result types for operand types: the signature string, refined by the `infer` rule where one is given.

        Raises ShapeMismatch, KindMismatch, FrameMismatch, BakedDim or BadAttribute, with the caret under the operand.
        """
        try:
            match = match_operands(self, types, attributes)
            if "infer" in self.rules:
                result = self.rules["infer"](*types, **attributes)
                return result if isinstance(result, tuple) else (result,)
            if SAME in self.traits:
                return (cast(Type, types[0]),)
            return tuple(_result(slot, match) for slot in self.results)
        except _Blame as blame:
            raise blame.error(self, values, places) from None
        except GdError as error:
            if not error.where:
                error.where = render(places)
            raise

    def _slot(self, name: str) -> Callable[[F], F]:
        def register(rule: F) -> F:
            self.rules[name] = rule
            return rule

        return register

    def reference(self, rule: F) -> F:
        """The meaning, in NumPy: operands as arrays (None for absent), attributes by keyword; returns array or tuple."""
        return self._slot("reference")(rule)

    def infer(self, rule: F) -> F:
        """Result types from operand types where the signature string cannot say them."""
        return self._slot("infer")(rule)

    def flops(self, rule: F) -> F:
        """Multiply-adds of the op: operand shapes as tuples of int (the result's shape as `out`), attributes by keyword."""
        return self._slot("flops")(rule)

    def torch(self, rule: F) -> F:
        """PyTorch form: first argument is the `torch` module, then operands as tensors, attributes by keyword."""
        return self._slot("torch")(rule)

    def onnx(self, rule: F) -> F:
        """Standard ONNX form: first argument is the emitter, then operand names, attributes by keyword."""
        return self._slot("onnx")(rule)

    def decompose(self, rule: F) -> F:
        """The op in simpler ops: operands as Values, attributes by keyword; returns Value or tuple."""
        return self._slot("decompose")(rule)

    def examples(self, rule: F) -> F:
        """Cases for the registry tests: yields `(shapes or arrays of the operands, attributes)`; argument is a NumPy Generator."""
        return self._slot("examples")(rule)

    def native(self, kernel: str, **fixed: Attribute) -> None:
        """Name the csrc kernel that the runtime calls for this op, with attributes that this op fixes."""
        self.native_name, self.native_fixed = kernel, fixed

    def no(self, target: str, reason: str) -> None:
        """Write down that a target lacks this op, with the reason."""
        self.absences[target] = reason

    def __repr__(self) -> str:
        return f"<op {self.name}: {self.signature}>"


def op(signature: str, *traits: str, name: str = "") -> Callable[[Callable[P, R]], Op[P, R]]:
    """Declare an op; see the module's docstring. Raises BadSignature for a string that cannot be read or a name taken twice."""

    def declare(declaration: Callable[P, R]) -> Op[P, R]:
        label = name or declaration.__name__
        if label in OPS:
            raise BadSignature(f"op {label!r} is declared twice ({OPS[label].module} and {declaration.__module__})")
        unknown = [t for t in traits if t not in TRAITS]
        if unknown:
            raise BadSignature(f"op {label!r}: unknown trait {unknown[0]!r}", help=nearest(unknown[0], TRAITS))
        made = Op(declaration, signature, traits, label)
        OPS[label] = cast("Op[..., Any]", made)
        return made

    return declare


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


def check_attribute(op_name: str, key: str, value: Any, places: Places = ()) -> Attribute:
    """The attribute in the form that graphs keep: lists become tuples, NumPy scalars Python numbers. Raises BadAttribute."""
    if isinstance(value, (list, tuple)):
        return tuple(check_attribute(op_name, key, v, places) for v in value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, Dim, np.ndarray)):
        return value
    raise BadAttribute(
        f"{op_name}: attribute {key!r} is a {type(value).__name__}; numbers, strings, dims and tuples of them can be kept",
        where=render(places, key),
        help="a Value is passed as an operand, not by keyword" if isinstance(value, Value) else "",
    )


class _Blame(Exception):
    """A mismatch of one operand, before it is known where in the user's code that operand stands."""

    def __init__(self, kind: type[GdError], operand: int, text: str, help: str = "") -> None:
        super().__init__(text)
        self.kind, self.operand, self.text, self.help = kind, operand, text, help

    def error(self, op: Op[..., Any], values: tuple[Value | None, ...], places: Places) -> GdError:
        label = op.operands[min(self.operand, len(op.operands) - 1)]
        where = render(places, self.operand)
        value = values[self.operand] if self.operand < len(values) else None
        if value is not None and value.node.places and value.node.places[0] != (places[0] if places else None):
            origin = value.node.places[0]
            where += f"\n  {label} ({value.type}) comes from {value.node.name} at{origin.excerpt().replace(chr(10), chr(10), 1)}"
        return self.kind(f"{op.name}: {label} {self.text}", where=where, help=self.help)


def match_operands(op: Op[..., Any], types: tuple[Type | None, ...], attributes: Mapping[str, Attribute]) -> Match:
    """Unify operand types with the signature; attribute values are visible as dims."""
    match = Match({k: Dim.of(v) for k, v in attributes.items() if isinstance(v, (int, Dim)) and not isinstance(v, bool)})
    repeated = len(op.sources) == 1 and op.sources[0].repeated
    for i, found in enumerate(types):
        slot = op.sources[0 if repeated else i]
        if found is None:
            if not slot.optional:
                raise _Blame(KindMismatch, i, f"is missing; expected {slot.kind}[{' '.join(slot.dims)}]")
            continue
        _match_kind(i, slot, found, match)
        if not repeated:
            _match_dims(i, slot, found, match)
    return match


def _match_kind(i: int, slot: Slot, found: Type, match: Match) -> None:
    kind = slot.kind
    if kind in ("T", "U"):
        match.types.setdefault(kind, found)
    elif kind == "f" or kind in ("logits", "scores", "boxes", "points", "masks"):
        if found.dtype not in FLOATS:
            raise _Blame(KindMismatch, i, f"is {found.dtype}, but a float type is expected", "cast(x, 'f32') makes it one")
        match.words.setdefault("float", found.dtype)
        _match_meaning(i, slot, found, match)
    elif kind == "i" or kind == "labels":
        if found.dtype not in INTEGERS:
            raise _Blame(KindMismatch, i, f"is {found.dtype}, but an integer type is expected")
    elif found.dtype != kind:
        raise _Blame(KindMismatch, i, f"is {found.dtype}, but {kind} is expected", f"cast(x, {kind!r}) makes it one")


def _match_meaning(i: int, slot: Slot, found: Type, match: Match) -> None:
    """Plain tensors pass for logits (a convolution does not know that it predicts them); nothing else is coerced."""
    kind = slot.kind
    if kind == "f" or (kind == "logits" and found.kind == "tensor"):
        return
    if kind != found.kind:
        raise _Blame(KindMismatch, i, f"is {found.meaning}, but {_wanted(slot)} is expected", _KIND_HELP.get((kind, found.kind), ""))
    actual = {"boxes": (found.format, found.frame), "points": (found.frame,), "masks": (found.frame,)}.get(kind, ())
    for pattern, have in zip(slot.parameters, actual, strict=True):
        want = match.words.setdefault(pattern, have) if pattern.isupper() else pattern
        if want != have:
            change = f"to_frame(boxes, {want!r})" if want in FRAMES else f"to_format(boxes, {want!r})" if want in FORMATS else ""
            raise _Blame(FrameMismatch, i, f"is {found.meaning}, but {_wanted(slot, match)} is expected", change)


_KIND_HELP = {
    ("logits", "scores"): "these are scores already: a second sigmoid or softmax would squash them again",
    ("scores", "logits"): "sigmoid(...) or softmax(...) turns logits into scores",
    ("scores", "tensor"): "sigmoid(...) or softmax(...) turns a prediction into scores",
    ("boxes", "tensor"): "a decode op or as_boxes(x, 'xyxy', 'net') says which format and frame the numbers are in",
}


def _wanted(slot: Slot, match: Match | None = None) -> str:
    words = ",".join(match.words.get(p, p) if match else p for p in slot.parameters)
    return f"{slot.kind}<{words}>" if words else slot.kind


def _match_dims(i: int, slot: Slot, found: Type, match: Match) -> None:
    star = next((k for k, d in enumerate(slot.dims) if d.startswith("*")), None)
    fixed = len(slot.dims) - (star is not None)
    if found.rank < fixed or (star is None and found.rank != fixed):
        raise _Blame(ShapeMismatch, i, f"has {found.rank} dims {_show(found.dims)}, but [{' '.join(slot.dims)}] is expected")
    if star is None:
        pairs = list(zip(slot.dims, found.dims, strict=True))
    else:
        tail = found.rank - (fixed - star)
        _match_span(i, slot.dims[star][1:], found.dims[star:tail], match)
        pairs = [*zip(slot.dims[:star], found.dims[:star], strict=True), *zip(slot.dims[star + 1 :], found.dims[tail:], strict=True)]
    for pattern, have in pairs:
        _match_dim(i, pattern, have, match)


def _match_span(i: int, name: str, have: tuple[Dim, ...], match: Match) -> None:
    want = match.spans.setdefault(name, have)
    if want != have:
        raise _Blame(ShapeMismatch, i, f"has dims {_show(have)}, but {_show(want)} was fixed by an earlier operand")


def _match_dim(i: int, pattern: str, have: Dim, match: Match) -> None:
    if pattern.isidentifier():
        want = match.dims.setdefault(pattern, have)
        cause = "was fixed by an earlier operand or attribute"
    else:
        want, cause = parse_dim(pattern, match), "is expected"
    if want == have:
        return
    detail = "" if pattern == str(want) else f"{pattern} = "
    text = f"has {detail}{have}, but {detail}{want} {cause}"
    if (want.constant is None) != (have.constant is None):
        raise _Blame(BakedDim, i, text, "take the size from a value, x.dim(axis), instead of writing the number")
    raise _Blame(ShapeMismatch, i, text)


def _show(dims: tuple[Dim, ...]) -> str:
    return f"[{' '.join(map(str, dims))}]"


def _result(slot: Slot, match: Match) -> Type:
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


__all__ = ["FP32", "NATIVE", "OPS", "ROWWISE", "SAME", "TRAIN", "TRAITS", "Op", "check_attribute", "op"]
