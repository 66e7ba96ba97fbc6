"""Op declarations: a signature string that is the type rule, and slots for everything else that is known about the op.

```
@op("f[N C H W], f[O I K L], f[O]? -> f[N O (H+2*padding-K)//stride+1 (W+2*padding-L)//stride+1]")
def conv2d(x, weight, bias=None, *, stride=1, padding=0): ...
```
`graphdet.ir.signature` has the grammar of the string.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from graphdet.errors import BadAttribute, BadSignature, GdError, InternalError, ShapeMismatch, nearest
from graphdet.ir.attribute import Natural, Positive, check_attribute, check_hints, hints_of
from graphdet.ir.graph import Attribute, Node, Value
from graphdet.ir.signature import Match, match_operands, parse_signature, result_type
from graphdet.ir.source import Places, Span, here, render
from graphdet.ir.types import Type

P = ParamSpec("P")
R = TypeVar("R")
Rule = Callable[..., Any]
F = TypeVar("F", bound=Rule)

TRAIN, ROWWISE, NATIVE, FP32, SAME, SHAPE = "TRAIN", "ROWWISE", "NATIVE", "FP32", "SAME", "SHAPE"
TRAITS = {
    TRAIN: "only training needs it; its results may flow only into losses",
    ROWWISE: "each row of the result depends on the same row of the operands alone, so rows may be selected first",
    NATIVE: "belongs to the runtime (data-dependent selection); the plan runs it between dense segments",
    FP32: "computed in float32 whatever the precision policy",
    SHAPE: "only the shape of the first operand is read, so the result is a constant once that shape is a number",
    SAME: "the result has the type of the first operand",
}
OPS: dict[str, Op[..., Any]] = {}


class Op(Generic[P, R]):
    """A declared op.

    Calling it inside a trace adds a node; its methods register rules (each returns the rule unchanged).
    """

    def __init__(self, declaration: Callable[P, R], signature: str, traits: Sequence[str], name: str) -> None:
        self.name, self.signature, self.traits = name, signature, frozenset(traits)
        self.doc = inspect.getdoc(declaration) or ""
        self.module = declaration.__module__
        parameters = inspect.signature(declaration).parameters.values()
        self.operands = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.hints = hints_of(declaration)
        self.sources, self.results = parse_signature(signature, name)
        self.rules: dict[str, Rule] = {}
        self.absences = {"onnx": "only training needs it"} if TRAIN in self.traits else dict[str, str]()
        self.onnx_opset = 18
        self.native_name, self.native_fixed = "", dict[str, Attribute]()
        self.__doc__, self.__name__ = self.doc, name

    def __call__(self, *operands: P.args, **attributes: P.kwargs) -> R:
        """Add a node to the open trace and return its results. Raises NoTrace, or what the type rule raises."""
        from graphdet.ir.trace import current, lift  # the open trace calls ops; ops need it only when called

        places = here()
        values, given = self._bind(operands, attributes, places)
        try:
            lifted = tuple(lift(v, i, self._dtype_of_number(i, values)) for i, v in enumerate(values))
        except GdError as error:
            raise self._located(error, (), places) from None
        types = self.infer_types(tuple(None if v is None else v.type for v in lifted), given, lifted, places)
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
                    where=render(places, f"{key}="),
                    help=nearest(key, (*self.defaults, *self.operands)),
                )
            else:
                given[key] = check_attribute(self.name, key, value, places)
        for key, value in given.items():
            if value is inspect.Parameter.empty:
                raise BadAttribute(f"{self.name}: attribute {key!r} must be given", where=render(places))
        values = list(operands)
        if not self.variadic:
            if len(values) > len(self.operands):
                raise BadAttribute(
                    f"{self.name} takes {len(self.operands)} operands, {len(values)} were given", where=render(places)
                )
            for key in named:
                if self.operands.index(key) < len(values):
                    raise BadAttribute(f"{self.name}: operand {key!r} is given twice", where=render(places, key))
            values += [attributes.get(name) for name in self.operands[len(values) :]]
        return tuple(values), given

    def _dtype_of_number(self, i: int, values: Sequence[Any]) -> str:
        """What a plain number at an operand should become: beside a value of any type, one of that value's dtype."""
        kinds = [slot.kind for slot in self.sources]
        if kinds[i : i + 1] not in (["T"], ["U"]):
            return "f32"
        beside = (v.type.dtype for v, kind in zip(values, kinds, strict=False) if kind in "TU" and isinstance(v, Value))
        return next(beside, "f32")

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
            arrays = any(isinstance(v, np.ndarray) for v in attributes.values())  # which have no hash
            rule = _known_types.__wrapped__ if arrays else _known_types
            return rule(self, types, tuple((k, v, _kind(v)) for k, v in attributes.items()))
        except GdError as error:
            raise self._located(error, values, places) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            shown = ", ".join(f"{k}={v!r}" for k, v in attributes.items())
            kind, text = (BadAttribute, f"cannot take {shown}") if shown else (InternalError, "its type rule failed")
            raise kind(f"{self.name}: {text} ({error})", where=render(places)) from error

    def typed(self, types: tuple[Type | None, ...], attributes: Mapping[str, Attribute]) -> tuple[Type, ...]:
        """What `infer_types` finds; errors do not know their place yet."""
        check_hints(attributes, self.hints)
        match = match_operands(self.sources, self.labels(len(types)), types, attributes)
        return _sized(self._results(types, attributes, match))

    def _results(
        self, types: tuple[Type | None, ...], attributes: Mapping[str, Attribute], match: Match
    ) -> tuple[Type, ...]:
        if "infer" in self.rules:
            result = self.rules["infer"](*types, **attributes)
            return result if isinstance(result, tuple) else (result,)
        if SAME in self.traits:
            return (cast(Type, types[0]),)
        return tuple(result_type(slot, match) for slot in self.results)

    def labels(self, count: int) -> tuple[str, ...]:
        """What messages call the operands."""
        return tuple(f"operand {i}" for i in range(count)) if self.variadic else tuple(map(repr, self.operands))

    def _located(self, error: GdError, values: tuple[Value | None, ...], places: Places) -> GdError:
        """The error of a type rule with the names of op and operand, its place in the user's code and its origin."""
        if error.where and error.about is None:
            return error
        at, subject = error.about, ""
        span: Span = at
        if isinstance(at, int):
            label = self.labels(at + 1)[at]
            subject, span = f"{label} ", (at, label.strip("'"))
        message = error.message.removeprefix(f"{self.name}: ")
        where = error.where or render(places, span)
        value = values[at] if isinstance(at, int) and at < len(values) else None
        if value is not None:
            where += _origin(value, label, places, where)
        return type(error)(f"{self.name}: {subject}{message}", where=where, help=error.help)

    def _slot(self, name: str) -> Callable[[F], F]:
        def register(rule: F) -> F:
            self.rules[name] = rule
            return rule

        return register

    def reference(self, rule: F) -> F:
        """The meaning, in NumPy: operands as arrays (None: absent), attributes by keyword; returns array or tuple."""
        return self._slot("reference")(rule)

    def infer(self, rule: F) -> F:
        """Result types from operand types where the signature string cannot say them."""
        return self._slot("infer")(rule)

    def flops(self, rule: F) -> F:
        """Multiply-adds: operand shapes as tuples of int (the result's shape as `out`), attributes by keyword."""
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
        """Cases for tests: yields `(shapes or arrays of the operands, attributes)`; takes a NumPy Generator."""
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
    """Declare an op; see the module's docstring.

    Raises BadSignature for a string that cannot be read or a name taken twice.
    """

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


@lru_cache(maxsize=1 << 14)
def _known_types(
    op: Op[..., Any], types: tuple[Type | None, ...], attributes: tuple[tuple[str, Attribute, Any], ...]
) -> tuple[Type, ...]:
    """Networks repeat their layers, variants and passes repeat networks: the same operands give the same types."""
    return op.typed(types, {k: v for k, v, _ in attributes})


def _kind(value: Attribute) -> Any:
    """What tells 1 from True and 1.0, which are equal."""
    return tuple(map(_kind, value)) if isinstance(value, tuple) else type(value)


def _sized(types: tuple[Type, ...]) -> tuple[Type, ...]:
    for type in types:
        if any(d.constant is not None and d.constant < 0 for d in type.dims):
            raise ShapeMismatch(f"the result would have a negative size: {type}")
    return types


def _origin(value: Value, label: str, places: Places, shown: str) -> str:
    """Where an operand was made, unless the excerpt shows it already (the operand is itself the guilty call)."""
    made = value.node.places
    if not made or made[0] == (places[0] if places else None) or made[0].excerpt() in shown:
        return ""
    return f"\n  {label} is {value.type}, from {value.node.name} at\n{made[0].excerpt()}"


__all__ = [
    "FP32", "NATIVE", "OPS", "ROWWISE", "SAME", "SHAPE", "TRAIN", "TRAITS", "Natural", "Op", "Positive",
    "check_attribute", "op",
]  # fmt: skip
