"""Where in the user's code a value was declared: captured for about a microsecond per op, rendered only in errors.

A frame is kept as (code object, last instruction); line and column range come from `co_positions()` on demand. Frames
of graphdet's own declaration machinery are skipped by module name; detector files count as user code.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType

_MACHINERY = ("graphdet.ir.", "graphdet.ops.", "graphdet.blocks.", "functools", "contextlib")
_SAME_FUNCTION_DEPTH = 3
Span = (
    int | str | tuple[int, str] | None
)  # an operand by position, keyword or either; `name=` is a keyword with its name


@dataclass(frozen=True)
class Place:
    """A point in source code. `text` replaces code and instruction for graphs that were read from a file."""

    code: CodeType | None = None
    instruction: int = 0
    text: str = ""

    def __str__(self) -> str:
        if self.code is None:
            return self.text
        return f"{_short(self.code.co_filename)}:{self._span()[0]}"

    def _span(self) -> tuple[int, int, int, int]:
        """First line, last line, first column, last column (columns in bytes of UTF-8, -1 when unknown)."""
        assert self.code is not None
        positions = next(islice(self.code.co_positions(), self.instruction // 2, None), (None,) * 4)
        line, end, start, stop = positions
        first = line or self.code.co_firstlineno
        return first, end or first, -1 if start is None else start, -1 if stop is None else stop

    def excerpt(self, operand: Span = None) -> str:
        """The source line with a caret under the expression, or under one operand of it where that can be found."""
        if self.code is None:
            return f"  {self.text}" if self.text else ""
        line, end, start, stop = self._span()
        if operand is not None and start >= 0:
            line, end, start, stop = self._operand(operand, (line, end, start, stop))
        source = linecache.getline(self.code.co_filename, line).rstrip("\n")
        shown = f"  {_short(self.code.co_filename)}:{line}"
        if not source.strip():
            return shown
        indent = len(source) - len(source.lstrip())
        if start < 0:
            return f"{shown}\n    {source.strip()}"
        raw = source.encode()
        start, stop = (
            len(raw[:column].decode(errors="ignore")) for column in (start, stop if end == line else len(raw))
        )
        caret = " " * (start - indent) + "^" * max(1, stop - start)
        return f"{shown}\n    {source.strip()}\n    {caret}"

    def _operand(self, operand: Span, span: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        assert self.code is not None
        line, end, start, stop = span
        lines = [linecache.getline(self.code.co_filename, n) for n in range(line, end + 1)]
        if not lines or not all(lines):
            return span
        raw = [text.encode() for text in lines]
        raw[-1] = raw[-1][:stop]
        raw[0] = raw[0][start:]
        try:
            tree = ast.parse(b"(" + b"".join(raw) + b")", mode="eval").body
        except SyntaxError:
            return span
        found = _pick(tree, operand)
        if found is None or found.end_col_offset is None:
            return span
        shift = start - 1 if found.lineno == 1 else 0
        tail = start - 1 if found.end_lineno == 1 else 0
        return (
            line + found.lineno - 1,
            line + (found.end_lineno or 1) - 1,
            found.col_offset + shift,
            found.end_col_offset + tail,
        )


Places = tuple[Place, ...]


def place_of(function: Callable[..., object]) -> Places:
    """Where a function starts, for mistakes of its declaration as a whole."""
    code = getattr(function, "__code__", None)
    return (Place(text=f"{_short(code.co_filename)}:{code.co_firstlineno}"),) if code else ()


def here() -> Places:
    """The innermost frames of user code, the nearest first."""
    found: list[Place] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < _SAME_FUNCTION_DEPTH:
        module = frame.f_globals.get("__name__", "")
        if not _is_machinery(module):
            found.append(Place(frame.f_code, frame.f_lasti))
            if frame.f_code.co_name == "<module>":
                break  # what imported or ran the user's file is not part of the declaration
        elif module == "graphdet.ir.detector" and frame.f_code.co_name == "_declare":
            break  # calls the detector's function: what lies outside is not part of the declaration
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(found)


@cache
def _is_machinery(module: str) -> bool:
    return module == "graphdet.ir" or module.startswith(_MACHINERY)


def render(places: Places, operand: Span = None) -> str:
    """The caret under the guilty expression and, when that lies in a shared part, the caller's line."""
    if not places:
        return ""
    lines = [places[0].excerpt(operand)]
    for outer in places[1:2]:
        if (
            outer.code is not None
            and places[0].code is not None
            and outer.code.co_filename != places[0].code.co_filename
        ):
            lines.append(f"  called from\n{outer.excerpt()}")
    return "\n".join(lines)


def _pick(tree: ast.expr, operand: Span) -> ast.expr | ast.keyword | None:
    match tree, operand:
        case _, (int(index), str(name)):
            return _pick(tree, index) or _pick(tree, name)
        case ast.Call(keywords=keywords), str(name):
            keyword = next((k for k in keywords if k.arg == name.rstrip("=")), None)
            return keyword if keyword is None or name.endswith("=") else keyword.value
        case ast.Call(args=arguments), int(index):
            plain = not any(isinstance(a, ast.Starred) for a in arguments)
            return arguments[index] if plain and index < len(arguments) else None
        case ast.BinOp(left=left, right=right), int(index):
            return (left, right)[index] if index < 2 else None
    return None


def _short(filename: str) -> str:
    """The last folders of a path: enough to find the file, nothing about the machine."""
    return "/".join(Path(filename).parts[-2:])
