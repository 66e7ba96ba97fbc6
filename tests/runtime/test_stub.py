"""The stub of the extension says what the extension says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("graphdet.runtime._C", reason="the kernel extension is not built")

ROOT = Path(__file__).resolve().parents[2]


def test_the_stub_is_fresh() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "stubs.py"), "--check"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
