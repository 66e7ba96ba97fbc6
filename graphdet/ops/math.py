"""Elementwise arithmetic, comparison and activations.

Binary ops broadcast like NumPy; any operand may be a plain number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphdet.errors import BakedDim, KindMismatch, ShapeMismatch
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Operand, Value
from graphdet.ir.op import ROWWISE, SAME, Op, op
from graphdet.ir.signature import TAKE_FROM_VALUE
from graphdet.ir.types import DTYPES, FLOATS, INTEGERS, Type, known, numpy_dtype

Binary = Op[[Operand, Operand], Value]
Unary = Op[[Value], Value]
Example = tuple[tuple[Any, ...], dict[str, Any]]


def broadcast(a: Type, b: Type, first: int = 0, second: int = 1) -> tuple[Dim, ...]:
    """Dims of `a op b`, which are the operands `first` and `second`.

    Raises ShapeMismatch where two sizes differ and neither is 1, BakedDim where one of them is symbolic and the other a
    number.
    """
    rank = max(a.rank, b.rank)
    left = (Dim.of(1),) * (rank - a.rank) + a.dims
    right = (Dim.of(1),) * (rank - b.rank) + b.dims
    dims = []
    for x, y in zip(left, right, strict=True):
        if x != y and x != 1 and y != 1:
            at, mine, found, other, wanted = (first, x, a, y, b) if y.constant is None else (second, y, b, x, a)
            baked = (x.constant is None) != (y.constant is None)
            text = f"is {found}: its size {mine} does not broadcast against {other} of the other operand, {wanted}"
            raise BakedDim(text, help=TAKE_FROM_VALUE, about=at) if baked else ShapeMismatch(text, about=at)
        dims.append(y if x == 1 else x)
    return tuple(dims)


def _pairs(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 4), (2, 3, 4)), {}
    yield ((2, 3, 4), ()), {}
    yield ((2, 1, 4), (3, 1)), {}
    yield ((0, 4), (0, 4)), {}


def _binary(name: str, meaning: Callable[..., Any], torch_name: str, onnx_name: str, doc: str) -> Binary:
    def declaration(a: Operand, b: Operand) -> Value: ...

    declaration.__doc__ = doc
    made = op("T[*S], U[*R] -> T[*S]", ROWWISE, name=name)(declaration)
    compares = name in ("greater", "less")
    taken = FLOATS if name == "div" else (*FLOATS, *INTEGERS)

    @made.infer
    def _(a: Type, b: Type) -> Type:
        for i, x in enumerate((a, b)):
            if x.dtype not in taken:
                wanted = "floats" if name == "div" else "numbers"
                raise KindMismatch(f"is {x}, expected {wanted}", help="cast(x, to='f32') makes it one", about=i)
        if a.dtype != b.dtype and not compares:
            help = f"cast(x, to='{a.dtype}') makes it one"
            raise KindMismatch(f"is {b}, expected {a.dtype} as 'a' is", help=help, about=1)
        kind = a.kind if name == "mul" and a.kind == b.kind == "scores" else "tensor"
        return Type("b" if compares else a.dtype, broadcast(a, b), kind)

    made.reference(lambda a, b: np.asarray(meaning(a, b)))
    made.torch(lambda t, a, b: getattr(t, torch_name)(a, b))
    made.onnx(lambda e, a, b: getattr(e, onnx_name)(*_alike(e, a, b)))
    made.examples(_pairs)
    return made


def _alike(e: Any, *operands: Any) -> tuple[Any, ...]:
    """ONNX compares numbers of one dtype alone."""
    if len({e.type(x).dtype for x in operands}) == 1:
        return operands
    return tuple(e.Cast(x, to=e.dtype("f32")) for x in operands)


add = _binary("add", np.add, "add", "Add", "a + b.")
sub = _binary("sub", np.subtract, "sub", "Sub", "a - b.")
mul = _binary("mul", np.multiply, "mul", "Mul", "a * b. The product of two scores is a score.")
div = _binary("div", np.true_divide, "div", "Div", "a / b, of floats.")
maximum = _binary("maximum", np.maximum, "maximum", "Max", "The larger of a and b; NaN where either is NaN.")
minimum = _binary("minimum", np.minimum, "minimum", "Min", "The smaller of a and b; NaN where either is NaN.")
greater = _binary("greater", np.greater, "gt", "Greater", "a > b, as b[...]; false where either is NaN.")
less = _binary("less", np.less, "lt", "Less", "a < b, as b[...]; false where either is NaN.")


@op("b[*S], b[*S] -> b[*S]", ROWWISE)
def logical_and(a: Value, b: Value) -> Value:
    """Whether both hold."""
    ...


@op("b[*S], b[*S] -> b[*S]", ROWWISE)
def logical_or(a: Value, b: Value) -> Value:
    """Whether one holds, or both."""
    ...


@op("b[*S] -> b[*S]", ROWWISE)
def logical_not(x: Value) -> Value:
    """Whether it does not hold."""
    ...


logical_and.reference(np.logical_and)
logical_and.torch(lambda t, a, b: a & b)
logical_and.onnx(lambda e, a, b: e.And(a, b))
logical_or.reference(np.logical_or)
logical_or.torch(lambda t, a, b: a | b)
logical_or.onnx(lambda e, a, b: e.Or(a, b))
logical_not.reference(np.logical_not)
logical_not.torch(lambda t, x: ~x)
logical_not.onnx(lambda e, x: e.Not(x))
logical_not.examples(lambda rng: [((rng.random((2, 5)) > 0.5,), {}), ((np.zeros((0, 3), bool),), {})])


@logical_and.examples
@logical_or.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.random((2, 5)) > 0.5, rng.random((2, 5)) > 0.5), {}


def _shapes(rng: np.random.Generator) -> Iterator[Example]:
    yield ((2, 3, 5),), {}
    yield ((0, 3),), {}
    yield (np.asarray([0.0, -60.0, 60.0, 1e-6], np.float32),), {}


def _unary(
    name: str,
    signature: str,
    meaning: Callable[..., Any],
    torch: Callable[..., Any],
    onnx: Callable[..., Any],
    doc: str,
) -> Unary:
    def declaration(x: Value) -> Value: ...

    declaration.__doc__ = doc
    made = op(signature, ROWWISE, *([SAME] if name == "relu" else []), name=name)(declaration)
    made.reference(lambda x: np.asarray(meaning(x), x.dtype))
    made.torch(torch)
    made.onnx(onnx)
    made.examples(_shapes)
    return made


def stable_sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


relu = _unary(
    "relu", "f[*S] -> f[*S]", lambda x: np.maximum(x, 0), lambda t, x: t.relu(x), lambda e, x: e.Relu(x), "max(x, 0)."
)
silu = _unary(
    "silu",
    "f[*S] -> f[*S]",
    lambda x: x * stable_sigmoid(x),
    lambda t, x: t.nn.functional.silu(x),
    lambda e, x: e.Mul(x, e.Sigmoid(x)),
    "x * sigmoid(x), also called Swish (Ramachandran et al. 2017).",
)
sigmoid = _unary(
    "sigmoid",
    "logits[*S] -> scores[*S]",
    stable_sigmoid,
    lambda t, x: t.sigmoid(x),
    lambda e, x: e.Sigmoid(x),
    "1 / (1 + exp(-x)): turns logits into scores in 0..1. Scores are refused: a second sigmoid is always a mistake.",
)
sigmoid.native("sigmoid")
mul.native("mul")
exp = _unary("exp", "f[*S] -> f[*S]", np.exp, lambda t, x: t.exp(x), lambda e, x: e.Exp(x), "e to the power x.")
log = _unary(
    "log",
    "f[*S] -> f[*S]",
    np.log,
    lambda t, x: t.log(x),
    lambda e, x: e.Log(x),
    "The natural logarithm; of 0 it is -inf.",
)
log.examples(
    lambda rng: iter([((rng.random((2, 3), dtype=np.float32) + 0.1,), {}), ((np.ones((0, 3), np.float32),), {})])
)
sqrt = _unary("sqrt", "f[*S] -> f[*S]", np.sqrt, lambda t, x: t.sqrt(x), lambda e, x: e.Sqrt(x), "The square root.")
sqrt.examples(lambda rng: iter([((rng.random((2, 3), dtype=np.float32) + 0.1,), {}), (((0, 3),), {})]))
relu6 = _unary(
    "relu6",
    "f[*S] -> f[*S]",
    lambda x: np.clip(x, 0, 6),
    lambda t, x: t.nn.functional.relu6(x),
    lambda e, x: e.Clip(x, e.constant(np.float32(0)), e.constant(np.float32(6))),
    "min(max(x, 0), 6) (Howard et al. 2017, MobileNets).",
)
leaky_relu = _unary(
    "leaky_relu",
    "f[*S] -> f[*S]",
    lambda x: np.where(x > 0, x, x * np.float32(0.1)),
    lambda t, x: t.nn.functional.leaky_relu(x, 0.1),
    lambda e, x: e.LeakyRelu(x, alpha=0.1),
    "x where positive, x / 10 elsewhere (the activation of Darknet).",
)
absolute = _unary("absolute", "f[*S] -> f[*S]", np.abs, lambda t, x: t.abs(x), lambda e, x: e.Abs(x), "|x|.")
square = _unary("square", "f[*S] -> f[*S]", np.square, lambda t, x: x * x, lambda e, x: e.Mul(x, x), "x * x.")


@op("b[*S], T[*A], T[*B] -> T[*S]", ROWWISE)
def where(condition: Value, a: Operand, b: Operand) -> Value:
    """`a` where the condition holds, `b` elsewhere; all three broadcast."""
    ...


@where.infer
def _(condition: Type, a: Type, b: Type) -> Type:
    first = a if a.rank >= b.rank else b
    return first.with_dims(broadcast(condition, first.with_dims(broadcast(a, b, 1, 2)), 0, 2 if first is b else 1))


where.reference(lambda condition, a, b: np.where(condition, a, b).astype(a.dtype))
where.torch(lambda t, condition, a, b: t.where(condition, a, b))
where.onnx(lambda e, condition, a, b: e.Where(condition, a, b))


@where.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.random((2, 3)) > 0.5, (2, 3), (2, 3)), {}
    yield (rng.random((2, 3, 1)) > 0.5, (2, 3, 4), ()), {}


@op("T[*S] -> T[*S]", ROWWISE)
def cast(x: Value, *, to: str) -> Value:
    """The same numbers as another dtype; true becomes 1. Casting float to integer truncates towards zero.

    Outside of PyTorch and ONNX a bf16 value is kept as float32, rounded to the nearest number that bf16 holds.
    """
    ...


@cast.infer
def _(x: Type, *, to: str) -> Type:
    return Type(known("dtype", to, DTYPES), x.dims, x.kind if to in FLOATS else "tensor", x.format, x.frame)


@cast.reference
def _(x: Any, *, to: str) -> Any:
    return _round_bf16(x.astype(np.float32)) if to == "bf16" else x.astype(numpy_dtype(to))


def _round_bf16(x: Any) -> Any:
    """Float32 numbers that bfloat16 can hold: the nearest ones, of two the even one."""
    bits = x.view(np.uint32)
    near = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)
    return np.where(np.isnan(x), x, near)


cast.torch(lambda t, x, *, to: x.to(getattr(t, "bfloat16" if to == "bf16" else numpy_dtype(to).name)))
cast.onnx(lambda e, x, *, to: e.Cast(x, to=e.dtype(to)))


@cast.examples
def _(rng: np.random.Generator) -> Iterator[Example]:
    yield (rng.random((2, 3)) > 0.5,), {"to": "f32"}
    yield (rng.integers(-5, 5, (4,)),), {"to": "f32"}
    yield ((3, 4),), {"to": "f16"}
    yield ((3, 4),), {"to": "f64"}
    yield (np.asarray([-2.7, -0.5, 0.0, 1.9], np.float32),), {"to": "i32"}
    yield (np.asarray([0.0, 2.5, 255.0], np.float32),), {"to": "u8"}
