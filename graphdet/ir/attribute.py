"""Attributes of ops: the form in which graphs keep them, and the check against the types that a declaration writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from graphdet.errors import BadAttribute
from graphdet.ir.dims import Dim
from graphdet.ir.graph import Attribute, Value
from graphdet.ir.source import Places, render

Positive = Annotated[int, 1]  # a stride, a factor, a number of groups
Natural = Annotated[int, 0]  # a padding, a limit where 0 is none
_WORDS: Mapping[Any, str] = {
    int: "a whole number", float: "a number", bool: "True or False", str: "a string", NoneType: "None", Dim: "a dim",
}  # fmt: skip


def hints_of(declaration: Callable[..., Any]) -> dict[str, Any]:
    """The types of a declaration's parameters; none where its module has them for type checkers alone."""
    try:
        return get_type_hints(declaration, include_extras=True)
    except NameError:
        return {}


def check_attribute(op_name: str, key: str, value: Any, places: Places = ()) -> Attribute:
    """The attribute in the form that graphs keep: lists become tuples, NumPy scalars Python numbers.

    Raises BadAttribute.
    """
    if isinstance(value, (list, tuple)):
        return tuple(check_attribute(op_name, key, v, places) for v in value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, Dim, np.ndarray)):
        return value
    raise BadAttribute(
        f"{op_name}: attribute {key!r} is a {type(value).__name__}; "
        "numbers, strings, dims and tuples of them can be kept",
        where=render(places, key),
        help="a Value is passed as an operand, not by keyword" if isinstance(value, Value) else "",
    )


def check_hints(attributes: Mapping[str, Attribute], hints: Mapping[str, Any]) -> None:
    """Refuse an attribute that is not what its declaration says. Raises BadAttribute about its keyword."""
    for key, value in attributes.items():
        hint = hints.get(key, Any)
        if not _accepts(hint, value):
            raise BadAttribute(f"attribute {key!r} is {value!r}, expected {_describe(hint)}", about=key)


def _accepts(hint: Any, value: Attribute) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return _accepts(arguments[0], value) and value >= arguments[1]
    if origin in (Union, UnionType):
        return any(_accepts(a, value) for a in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        items = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        return len(items) == len(value) and all(map(_accepts, items, value))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else origin or hint)


def _describe(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_describe(arguments[0])} of at least {arguments[1]}"
    if origin in (Union, UnionType):
        return " or ".join(map(_describe, arguments))
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f" of {len(arguments)} items"
        return f"a tuple{count}, each {_describe(arguments[0])}"
    return _WORDS.get(hint) or f"a {getattr(origin or hint, '__name__', hint)}"
