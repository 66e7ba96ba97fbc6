"""Symbolic sizes as ONNX values: read off the shapes of inputs, then computed.

Everything is an int64 vector of one element, so that several join into a shape by one Concat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphdet.errors import InternalError
from graphdet.ir.dims import Atom, Dim, Symbol
from graphdet.ir.types import Type

if TYPE_CHECKING:
    from graphdet.compiler.backends.onnx.emitter import Emitter, Handle


class Sizes:
    """Where each size can be read, and which have been written already."""

    def __init__(self, emitter: Emitter) -> None:
        self._e = emitter
        self._sources: dict[Dim, tuple[Handle, int]] = {}
        self._others: dict[Dim, tuple[Handle, int]] = {}
        self._units: dict[Symbol, tuple[Dim, int, int]] = {}  # symbol = (dim - shift) / factor
        self._written: dict[Dim | tuple[Dim, ...] | Symbol, Handle] = {}
        self._scalars: dict[Dim, Handle] = {}

    def know(self, handle: Handle, type: Type, *, source: bool) -> None:
        """Remember a value whose shape can be asked."""
        for axis, dim in enumerate(type.dims):
            if dim.constant is not None:
                continue
            (self._sources if source else self._others).setdefault(dim, (handle, axis))
            linear = _linear(dim)
            if source and linear is not None:
                self._units.setdefault(linear[0], (dim, linear[1], linear[2]))

    def vector(self, dims: tuple[Dim, ...]) -> Handle:
        """All sizes as one vector."""
        if all(d.constant is not None for d in dims):
            return self._e.constant(np.asarray([d.constant for d in dims], np.int64))
        if len(dims) == 1:
            return self._one(dims[0])
        if dims not in self._written:
            self._written[dims] = self._e.Concat(*map(self._one, dims), axis=0)
        return self._written[dims]

    def scalar(self, dim: Dim) -> Handle:
        """One size of rank 0."""
        if dim.constant is not None:
            return self._e.scalar(dim.constant)
        if dim not in self._scalars:
            self._scalars[dim] = self._e.Squeeze(self._one(dim), self._number(0))
        return self._scalars[dim]

    def _number(self, value: int) -> Handle:
        return self._e.constant(np.asarray([value], np.int64))

    def _one(self, dim: Dim) -> Handle:
        if dim.constant is not None:
            return self._number(dim.constant)
        if dim not in self._written:
            place = self._place(dim)
            self._written[dim] = self._polynomial(dim) if place is None else self._read(*place)
        return self._written[dim]

    def _place(self, dim: Dim) -> tuple[Handle, int] | None:
        """Where a size is read: off an input, or, if it cannot be computed from inputs, off another value."""
        if dim in self._sources or self._computable(dim):
            return self._sources.get(dim)
        return self._others.get(dim)

    def _read(self, handle: Handle, axis: int) -> Handle:
        read: Handle = self._e.Shape(handle, start=axis, end=axis + 1)
        return read

    def _computable(self, dim: Dim) -> bool:
        return all(self._atom_is_known(atom) for monomial, _ in dim.terms for atom in monomial)

    def _atom_is_known(self, atom: Atom) -> bool:
        if isinstance(atom, Symbol):
            return atom in self._units
        return _alone(atom) in self._sources or all(map(self._computable, atom.arguments))

    def _polynomial(self, dim: Dim) -> Handle:
        total: Handle | None = None
        for monomial, factor in dim.terms:
            term: Handle | None = None if factor != 1 or not monomial else self._atom(monomial[0])
            rest = monomial[1:] if term is not None else monomial
            term = self._number(factor) if term is None else term
            for atom in rest:
                term = self._e.Mul(term, self._atom(atom))
            total = term if total is None else self._e.Add(total, term)
        assert total is not None  # a dim without terms is the constant 0
        return total

    def _atom(self, atom: Atom) -> Handle:
        if isinstance(atom, Symbol):
            return self._symbol(atom)
        whole = _alone(atom)
        if self._place(whole) is not None:
            return self._one(whole)
        left, right = map(self._one, atom.arguments)
        handle: Handle = self._e.Div(left, right) if atom.function == "floor" else self._e.Min(left, right)
        return handle

    def _symbol(self, symbol: Symbol) -> Handle:
        """A symbol in its units: 13 for a size of 416 that is a multiple of 32."""
        if symbol not in self._written:
            whole = Dim(((((symbol,), symbol.multiple)),))
            if symbol not in self._units and whole in self._others:  # of data
                return self._one(whole)
            if symbol not in self._units:
                raise InternalError(f"the size {symbol} can be read off no input and computed from none")
            dim, factor, shift = self._units[symbol]
            units = self._one(dim)
            if shift:
                units = self._e.Sub(units, self._number(shift))
            self._written[symbol] = self._e.Div(units, self._number(factor)) if factor != 1 else units
        return self._written[symbol]


def _alone(atom: Atom) -> Dim:
    """The dim that is one atom."""
    return Dim((((atom,), 1),))


def _linear(dim: Dim) -> tuple[Symbol, int, int] | None:
    """(symbol, factor, shift) of a dim that is factor * symbol + shift."""
    found: tuple[Symbol, int] | None = None
    shift = 0
    for monomial, factor in dim.terms:
        if not monomial:
            shift = factor
        elif len(monomial) == 1 and isinstance(monomial[0], Symbol) and found is None:
            found = (monomial[0], factor)
        else:
            return None
    return None if found is None else (*found, shift)
