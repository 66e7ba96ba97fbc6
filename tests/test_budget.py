"""Files and functions stay short enough to read: lines of code, without docstrings, comments and blank lines."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("graphdet", "compiler", "runtime", "zoo", "benchmarks", ".ci")
SKIPPED = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
)
FILE, FUNCTION, DETECTOR, PARAMETERS = 300, 50, 120, 9


def files() -> list[Path]:
    """All Python files of the rooms, each once."""
    found = (p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
    return sorted(
        p for p in found if not any(q.is_symlink() for q in [p, *p.parents] if q != ROOT and ROOT in q.parents)
    )


def _docstrings(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        match body[0] if isinstance(body, list) and body else None:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=last):
                yield from range(first, (last or first) + 1)


def lines_with_code(source: str) -> set[int]:
    """Line numbers that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - set(_docstrings(ast.parse(source)))


def code_lines(source: str) -> int:
    """How many lines hold code."""
    return len(lines_with_code(source))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_counting() -> None:
    source = '"""Doc\n\nmore."""\n# why\nx = (1,\n     2)\n\n\ndef f():\n    """Doc."""\n    return """a\nb"""\n'
    assert lines_with_code(source) == {5, 6, 9, 11, 12}


@pytest.mark.parametrize("path", files(), ids=name)
def test_file(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    lines = lines_with_code(source)
    top = path.parent == ROOT / "zoo" and path.name != "__init__.py"
    tables = path.name in ("classes.py",)
    assert len(lines) <= (DETECTOR if top and not tables else FILE)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = sum(node.lineno <= n <= (node.end_lineno or 0) for n in lines)
            assert inside <= FUNCTION, f"{name(path)}:{node.lineno} {node.name} has {inside} code lines"
