"""Reading JSON that is not trusted: a function returns a checked value or raises CorruptArtefact naming the field."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from graphdet.errors import CorruptArtefact

REBUILD = "copy the file again, or build it again with `graphdet compile`"


def fail(at: str, expected: str, found: object) -> NoReturn:
    """Raise CorruptArtefact for field `at`; the value found is shown shortened."""
    try:
        shown = repr(found)
    except ValueError:  # an integer of more digits than Python prints
        shown = "a huge number"
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    raise CorruptArtefact(f"artefact header, field {at}: expected {expected}, found {shown}", help=REBUILD)


def mapping(value: object, at: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        fail(at, "an object", value)
    return value


def items(value: object, at: str) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        fail(at, "an array", value)
    return value


def member(fields: dict[str, Any], key: str, at: str) -> Any:
    """The value of `key`, which must be present."""
    if key not in fields:
        raise CorruptArtefact(f"artefact header, field {at}.{key} is missing".replace(" .", " "), help=REBUILD)
    return fields[key]


def text(value: object, at: str) -> str:
    """A string, perhaps empty."""
    if not isinstance(value, str):
        fail(at, "a string", value)
    return value


def name(value: object, at: str) -> str:
    """A string that is not empty."""
    if not text(value, at):
        fail(at, "a name", value)
    return str(value)


def choice(value: object, at: str, known: tuple[str, ...]) -> str:
    """One of the known words."""
    if not isinstance(value, str) or value not in known:
        fail(at, "one of " + ", ".join(known), value)
    return value


def flag(value: object, at: str) -> bool:
    """A JSON boolean."""
    if not isinstance(value, bool):
        fail(at, "true or false", value)
    return value


def integer(value: object, at: str, low: int, high: int) -> int:
    """An integer in low..high (both included); booleans are not integers here."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        fail(at, f"an integer in {low}..{high}", value)
    return value


def number(value: object, at: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        fail(at, "a number", value)
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        fail(at, "a finite number", value)
    return result


def sized(value: object, at: str, count: int) -> list[Any]:
    """A JSON array of exactly `count` items."""
    entries = items(value, at)
    if len(entries) != count:
        fail(at, f"an array of {count}", value)
    return entries
