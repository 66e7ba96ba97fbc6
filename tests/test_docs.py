"""The code in the documentation runs, prints what the page says, and links lead somewhere."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import graphdet.ops  # noqa: F401  fills the table of ops
from graphdet.ir import OPS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n?^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)|src=\"([^\":]+)\"")


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path) -> list[tuple[str, str]]:
    """Python blocks with the output that the page shows right below; other blocks are not run."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=page_name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(OPS)
    scope: dict[str, Any] = {"__name__": "page"}
    try:
        for code, expected in blocks(page):
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(code, page.name, "exec"), scope)
            if expected:
                assert printed.getvalue() == expected, code
    finally:
        for name in set(OPS) - before:
            del OPS[name]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    for found in LINK.findall(page.read_text(encoding="utf-8")):
        target = found[0] or found[1]
        assert (page.parent / target).exists(), f"{page_name(page)} links to {target}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent.name == "adr"], ids=page_name)
def test_notes_are_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert all(f"## {part}" in text for part in ("Context", "Decision", "Price"))
