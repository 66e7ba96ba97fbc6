"""Symbolic dimensions: integer polynomials over named sizes, so that no batch or image size is baked into a graph.

A `Dim` is a sum of integer multiples of products of atoms. An atom is a named size (`N`, `H`) or an opaque integer
function of dims (`floor(a / k)`, `min(a, b)`). A size that is known to be a multiple of 32 is kept as 32 units, so
`H/8` is exact and `H/8 * 2 == H/4` is decided by comparing polynomials. Equality is structural equality of this normal
form.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Union


@dataclass(frozen=True)
class Symbol:
    """A named size. `multiple`: the size is divisible by it. `bound`: it never exceeds this (0: unbounded)."""

    name: str
    multiple: int = 1
    bound: int = 0

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The number of units, for sizes given in full (`H=416` for a multiple of 32 gives 13)."""
        return sizes[self.name] // self.multiple

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Call:
    """An integer function that polynomials cannot express: `floor(a/k)`, `min(a, b)`."""

    function: str
    arguments: tuple[Dim, ...]

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The value at concrete sizes."""
        values = [a.evaluate(sizes) for a in self.arguments]
        return values[0] // values[1] if self.function == "floor" else min(values)

    def __str__(self) -> str:
        if self.function == "floor":
            return f"(({self.arguments[0]})//{self.arguments[1]})"
        return f"min({','.join(map(str, self.arguments))})"


Atom = Symbol | Call
Monomial = tuple[Atom, ...]
DimLike = Union["Dim", int]


def _order(monomial: Monomial) -> tuple[int, str]:
    return (-len(monomial), "*".join(map(str, monomial)))


@dataclass(frozen=True, eq=False)
class Dim:
    """One dimension; see the module's docstring.

    Supports + - * // with dims and integers, and exact `/` by an integer.
    """

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(value: DimLike) -> Dim:
        """A dim from a dim or an integer."""
        if isinstance(value, Dim):
            return value
        return Dim(((((), int(value)),)) if value else ())

    @staticmethod
    def symbol(name: str, multiple: int = 1, bound: int = 0) -> Dim:
        """A named size, divisible by `multiple`, at most `bound` where that is not 0."""
        return Dim((((Symbol(name, multiple, bound),), multiple),))

    @property
    def constant(self) -> int | None:
        """The number this dim is, or None while it depends on a symbol."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and self.terms[0][0] == () else None

    @property
    def symbol_alone(self) -> Symbol | None:
        """The named size that this dim is in full, or None."""
        for symbol in self.symbols:
            if self.terms == (((symbol,), symbol.multiple),):
                return symbol
        return None

    @property
    def symbols(self) -> frozenset[Symbol]:
        """All named sizes that occur in it."""
        found: set[Symbol] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, Symbol):
                    found.add(atom)
                else:
                    found.update(*(a.symbols for a in atom.arguments))
        return frozenset(found)

    def evaluate(self, sizes: Mapping[str, int]) -> int:
        """The number at concrete sizes, given by symbol name. Raises KeyError for a symbol without a size."""
        total = 0
        for monomial, factor in self.terms:
            for atom in monomial:
                factor *= atom.evaluate(sizes)
            total += factor
        return total

    @property
    def bound(self) -> int | None:
        """What it never exceeds, as far as the bounds of its sizes tell; None where they do not."""
        total = 0
        for monomial, factor in self.terms:
            parts = [_bound(atom) for atom in monomial]
            if factor > 0 and None in parts:
                return None
            total += math.prod(p for p in parts if p is not None) * factor if factor > 0 else 0
        return total

    def substitute(self, sizes: Mapping[str, DimLike]) -> Dim:
        """The dim with some symbols replaced by numbers, or by other dims."""
        total = Dim.of(0)
        for monomial, factor in self.terms:
            product = Dim.of(factor)
            for atom in monomial:
                product = product * _substitute(atom, sizes)
            total = total + product
        return total

    def __add__(self, other: DimLike) -> Dim:
        return _collect([*self.terms, *Dim.of(other).terms])

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return Dim(tuple((m, -k) for m, k in self.terms))

    def __sub__(self, other: DimLike) -> Dim:
        return self + (-Dim.of(other))

    def __rsub__(self, other: DimLike) -> Dim:
        return Dim.of(other) - self

    def __mul__(self, other: DimLike) -> Dim:
        return _collect([(tuple(sorted(a + b, key=str)), i * j) for a, i in self.terms for b, j in Dim.of(other).terms])

    __rmul__ = __mul__

    def __floordiv__(self, other: DimLike) -> Dim:
        divisor = Dim.of(other).constant
        if not divisor or divisor < 0:
            return _exact(self, Dim.of(other))
        whole = _collect([(m, k // divisor) for m, k in self.terms])
        rest = _collect([(m, k % divisor) for m, k in self.terms])
        if rest.constant is not None:
            return whole + rest.constant // divisor
        common, inner = divisor, rest
        for factor in range(divisor, 1, -1):  # (2a) // 4 is a // 2
            if divisor % factor == 0 and all(k % factor == 0 for m, k in rest.terms if m):
                inner = _collect([(m, k // factor) for m, k in rest.terms])  # floor(floor(x/f)/g) = floor(x/(fg))
                common = divisor // factor
                break
        if common == 1:
            return whole + inner
        return whole + _floor(inner, common)

    def __truediv__(self, other: int) -> Dim:
        if any(k % other for _, k in self.terms):
            raise ArithmeticError(f"{self} is not divisible by {other}")
        return Dim(tuple((m, k // other) for m, k in self.terms))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return self.constant == other
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        if not self.terms:
            return "0"
        text = ""
        for monomial, factor in self.terms:
            text += _show_term(monomial, factor, first=not text)
        return text

    __repr__ = __str__


def minimum(a: DimLike, b: DimLike) -> Dim:
    """The smaller of two dims; sizes are never negative, so that `min(A, A+B)` is `A`."""
    parts: list[Dim] = []
    for part in (*_parts(Dim.of(a)), *_parts(Dim.of(b))):
        if not any(_below(p, part) for p in parts):
            parts = [*(p for p in parts if not _below(part, p)), part]
    first, *rest = sorted(parts, key=str)
    for part in rest:
        first = Dim((((Call("min", (first, part)),), 1),))
    return first


def _parts(dim: Dim) -> tuple[Dim, ...]:
    """What a minimum is taken of."""
    if len(dim.terms) == 1 and dim.terms[0][1] == 1 and len(dim.terms[0][0]) == 1:
        atom = dim.terms[0][0][0]
        if isinstance(atom, Call) and atom.function == "min":
            return _parts(atom.arguments[0]) + _parts(atom.arguments[1])
    return (dim,)


def _below(a: Dim, b: Dim) -> bool:
    """Whether a <= b at all sizes, as far as the signs of the terms tell."""
    return all(k > 0 for _, k in (b - a).terms)


def product(dims: tuple[Dim, ...]) -> Dim:
    """The number of elements of a tensor with these dims."""
    total = Dim.of(1)
    for d in dims:
        total = total * d
    return total


def _collect(terms: list[tuple[Monomial, int]]) -> Dim:
    merged: dict[Monomial, int] = {}
    for monomial, factor in terms:
        merged[monomial] = merged.get(monomial, 0) + factor
    return Dim(tuple(sorted(((m, k) for m, k in merged.items() if k), key=lambda t: _order(t[0]))))


def _floor(inner: Dim, divisor: int) -> Dim:
    shift = sum(k for m, k in inner.terms if not m)
    rest = [(m, k) for m, k in inner.terms if m]
    if len(rest) == 1 and rest[0][1] == 1 and len(rest[0][0]) == 1:
        atom = rest[0][0][0]
        if isinstance(atom, Call) and atom.function == "floor":  # floor((floor(x/a)+k)/b) = floor((x+ka)/(ab))
            nested = atom.arguments[1].constant or 1
            return (atom.arguments[0] + shift * nested) // (nested * divisor)
    return Dim((((Call("floor", (inner, Dim.of(divisor))),), 1),))


def _exact(dividend: Dim, divisor: Dim) -> Dim:
    """Division by a symbolic dim, where it cancels: `(N*A*4) // N`."""
    if len(divisor.terms) != 1:
        if dividend == divisor:
            return Dim.of(1)
        raise ArithmeticError(f"cannot divide {dividend} by {divisor}")
    under, factor = divisor.terms[0]
    out: list[tuple[Monomial, int]] = []
    for monomial, k in dividend.terms:
        rest = list(monomial)
        for atom in under:
            if atom not in rest:
                raise ArithmeticError(f"{dividend} is not divisible by {divisor}")
            rest.remove(atom)
        if factor == 0 or k % factor:
            raise ArithmeticError(f"{dividend} is not divisible by {divisor}")
        out.append((tuple(rest), k // factor))
    return _collect(out)


def _bound(atom: Atom) -> int | None:
    if isinstance(atom, Symbol):
        return atom.bound // atom.multiple if atom.bound else None
    bounds = [a.bound for a in atom.arguments]
    if atom.function == "floor":
        return None if bounds[0] is None else bounds[0] // (bounds[1] or 1)
    return min((b for b in bounds if b is not None), default=None)


def _substitute(atom: Atom, sizes: Mapping[str, DimLike]) -> Dim:
    if isinstance(atom, Symbol):
        if atom.name not in sizes:
            return Dim((((atom,), 1),))
        return Dim.of(sizes[atom.name]) // atom.multiple
    arguments = [a.substitute(sizes) for a in atom.arguments]
    return arguments[0] // arguments[1] if atom.function == "floor" else minimum(arguments[0], arguments[1])


def _show_term(monomial: Monomial, factor: int, *, first: bool) -> str:
    """One term in the words of full sizes: 4 units of a multiple of 32 print as `H/8`."""
    scale = Fraction(abs(factor))
    for atom in monomial:
        if isinstance(atom, Symbol):
            scale /= atom.multiple
    body = "*".join(str(a) for a in monomial)
    if not body:
        body = str(scale)
    else:
        if scale.numerator != 1:
            body = f"{scale.numerator}*{body}"
        if scale.denominator != 1:
            body = f"{body}/{scale.denominator}"
    sign = "-" if factor < 0 else "" if first else "+"
    return sign + body


def parse_dim(text: str, names: Mapping[str, Dim] | Callable[[str], Dim]) -> Dim:
    """Read a dim expression such as `(H+2*pad-size)//stride+1`, `A*4`, `min(k,A)`; names are looked up in `names`.

    Raises ValueError for anything else, KeyError for an unknown name, ArithmeticError where a division is not exact.
    """
    lookup = names if callable(names) else names.__getitem__
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):  # the latter two from very deep nesting
        raise ValueError(f"not a dimension expression: {text[:60]!r}") from None
    return _evaluate(tree, lookup)


def _evaluate(node: ast.expr, lookup: Callable[[str], Dim]) -> Dim:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return Dim.of(value)
        case ast.Name(id=name):
            return lookup(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, lookup)
        case ast.Call(func=ast.Name(id="min"), args=[left, right]):
            return minimum(_evaluate(left, lookup), _evaluate(right, lookup))
        case ast.BinOp(left=left, op=operator, right=right):
            return _combine(operator, _evaluate(left, lookup), _evaluate(right, lookup))
    raise ValueError(f"not a dimension expression: {ast.unparse(node)}")


def _combine(operator: ast.operator, a: Dim, b: Dim) -> Dim:
    match operator:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.FloorDiv():
            return a // b
        case ast.Div():
            return a / (b.constant or 0)
    raise ValueError(f"not a dimension expression: it has the operator {type(operator).__name__}")
