"""The kernels' threads: set for the process, shared by callers, new in a forked child."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_C: Any = importlib.import_module("graphdet.runtime._C")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    _C.set_threads(0)


def test_count_is_set_capped_and_restored() -> None:
    initial = _C.threads()
    assert initial >= 1
    for asked, expected in ((3, 3), (10**6, 256), (0, initial), (-5, initial)):
        _C.set_threads(asked)
        assert _C.threads() == expected


def masks(seed: int) -> Any:
    return np.random.default_rng(seed).random((12, 60, 70)) < 0.5


def test_many_callers_at_once() -> None:
    _C.set_threads(4)
    made = [masks(i) for i in range(8)]
    expected = [_C.rle_encode(m) for m in made]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(50):
            if _C.rle_encode(made[i]) != expected[i]:
                wrong.append(i)

    callers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_threads_may_change_between_calls() -> None:
    made = masks(0)
    expected = _C.rle_encode(made)
    for count in (1, 7, 2, 9, 1, 3):
        _C.set_threads(count)
        assert _C.rle_encode(made) == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_child_has_threads_of_its_own() -> None:
    code = """
import os, sys
import numpy as np
from graphdet.runtime import _C
_C.set_threads(4)
m = np.random.default_rng(0).random((12, 60, 70)) < 0.5
expected = _C.rle_encode(m)
pid = os.fork()
if pid == 0:
    os._exit(0 if all(_C.rle_encode(m) == expected for _ in range(20)) else 1)
_, status = os.waitpid(pid, 0)
assert _C.rle_encode(m) == expected
sys.exit(os.waitstatus_to_exitcode(status))
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
