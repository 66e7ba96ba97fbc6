"""Typed records as plain JSON data and back, checked field by field; and changes of single fields by dotted names."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from graphdet.errors import BadRecipe, nearest

Kinds = Mapping[Any, Sequence[type]]  # an interface -> the records that a file may name for it


def to_plain(value: Any) -> Any:
    """JSON-ready form: a record becomes an object whose `kind` is its class name, a tuple a list."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return value


def from_plain(hint: Any, data: Any, kinds: Kinds, path: str = "") -> Any:
    """The value of type `hint` that `to_plain` wrote.

    A number stands for a float, a class name alone for a record with its defaults.

    Raises:
        BadRecipe: an unknown or missing name, or a value of another type; the message gives the dotted name.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint in kinds or origin in (Union, types.UnionType):
        return _choice(tuple(kinds.get(hint, inner)), data, kinds, path)
    if is_dataclass(hint):
        return _record(hint, data, kinds, path)
    if origin is tuple:
        return _tuple(inner, data, kinds, path)
    if origin is Literal:
        return _check(data in inner, data, path, " or ".join(map(repr, inner)), nearest(str(data), map(str, inner)))
    if origin in (Mapping, dict) or hint is dict:
        return dict(_check(isinstance(data, Mapping), data, path, "an object"))
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if hint is Any:
        return data
    known = isinstance(data, hint) and (hint is bool or not isinstance(data, bool))
    return _check(known, data, path, {"int": "a whole number", "float": "a number", "str": "text"}.get(hint.__name__))


def changed(data: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Plain data with the field of this dotted name replaced: `schedule.final`, `transforms.0.chance`.

    A new `kind` forgets the other fields of the record, which belong to the old one. Raises BadRecipe for a path that
    leads nowhere.
    """
    head, _, rest = name.partition(".")
    if not rest:
        return {"kind": value} if head == "kind" and data.get("kind") != value else {**data, head: value}
    inner = data.get(head)
    inner = {"kind": inner} if isinstance(inner, str) else inner  # a class name alone
    if isinstance(inner, Mapping):
        return {**data, head: changed(inner, rest, value)}
    index, _, deeper = rest.partition(".")
    if not isinstance(inner, list) or not index.isdecimal() or int(index) >= len(inner):
        raise BadRecipe(f"the recipe has no {name!r}", help=nearest(head, data) if head not in data else "")
    items: list[Any] = list(inner)
    items[int(index)] = changed(items[int(index)], deeper, value) if deeper else value
    return {**data, head: items}


# --- inside -----------------------------------------------------------------------------------------------------------


def _check(good: bool, data: Any, path: str, expected: str | None, help_: str = "") -> Any:
    if not good:
        raise BadRecipe(f"{path} = {data!r}, expected {expected or 'another type'}", help=help_)
    return data


def _choice(options: tuple[Any, ...], data: Any, kinds: Kinds, path: str) -> Any:
    """One of several types: None, a plain one, or a record told by its `kind`."""
    if data is None and type(None) in options:
        return None
    records: dict[str, Any] = {o.__name__: o for o in options if is_dataclass(o) and isinstance(o, type)}
    if isinstance(data, tuple(records.values())):
        return data
    named = data if isinstance(data, str) else data.get("kind", "") if isinstance(data, Mapping) else None
    if named is not None and (named in records or str not in options):
        if named not in records:
            known = ", ".join(sorted(records))
            raise BadRecipe(f"{path} has no kind {named!r}", help=nearest(str(named), records) or f"one of {known}")
        return _record(records[named], {} if isinstance(data, str) else data, kinds, path)
    plain = [o for o in options if o is not type(None) and o not in records.values()]
    names = [*records, *(getattr(o, "__name__", str(o)) for o in plain)]
    _check(bool(plain), data, path, " or ".join(names))
    for option in plain[:-1]:
        try:
            return from_plain(option, data, kinds, path)
        except BadRecipe:
            continue
    return from_plain(plain[-1], data, kinds, path)


def _record(kind: Any, data: Any, kinds: Kinds, path: str) -> Any:
    if isinstance(data, kind):
        return data
    _check(isinstance(data, Mapping), data, path or "a recipe", "an object")
    known: dict[str, Field[Any]] = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    dot = f"{path}." if path else ""
    for name in data:
        if name not in known and name != "kind":
            raise BadRecipe(f"{path or 'a recipe'} has no {name!r}", help=nearest(name, known))
    for name, field in known.items():
        if name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise BadRecipe(f"{path or 'the recipe'} does not say {name!r}")
    values = {k: from_plain(hints[k], v, kinds, f"{dot}{k}") for k, v in data.items() if k != "kind"}
    return kind(**values)


def _tuple(inner: tuple[Any, ...], data: Any, kinds: Kinds, path: str) -> tuple[Any, ...]:
    _check(isinstance(data, list | tuple), data, path, "a list")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(from_plain(inner[0], item, kinds, f"{path}.{i}") for i, item in enumerate(data))
    _check(len(data) == len(inner), data, path, f"{len(inner)} values")
    return tuple(from_plain(h, d, kinds, f"{path}.{i}") for i, (h, d) in enumerate(zip(inner, data, strict=True)))
