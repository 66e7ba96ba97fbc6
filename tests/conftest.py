"""Shared fixtures: the data folder, fixed seeds, and the hypothesis profiles."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # PyTorch's idle threads otherwise keep the cores busy

for name, examples in {"dev": 20, "ci": 100}.items():
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def shared_root() -> Path:
    """The folder with photos and weights: the variable GRAPHDET_SHARED, or `shared` beside the repository."""
    return Path(os.environ.get("GRAPHDET_SHARED") or ROOT.parent / "shared")


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """`shared("data/x")` is the path of that file or folder; the test is skipped where it is absent."""

    def find(relative: str) -> Path:
        path = shared_root() / relative
        if not path.exists():
            pytest.skip(f"needs {relative}: set GRAPHDET_SHARED to the folder that holds it")
        return path

    return find


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)  # libraries under test may use the global state


@pytest.fixture(scope="module", autouse=True)
def shared_results(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the tests of a file share by `functools.cache`, graphs and engines with their weights, goes after them."""
    yield
    caches = [v for v in vars(request.module).values() if hasattr(v, "cache_clear")]
    for cache in (c for c in caches if c.__module__ == request.module.__name__):
        cache.cache_clear()
    if caches:
        gc.collect()  # nodes and values hold each other


@pytest.fixture(scope="session")
def golden() -> Callable[[str, str], None]:
    """`golden("errors/x.txt", text)` compares with `tests/golden/errors/x.txt`; GRAPHDET_GOLDEN=write rewrites it."""

    def compare(relative: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / relative
        if os.environ.get("GRAPHDET_GOLDEN") == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {path}; `make golden` writes it"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; `make golden` rewrites it"

    return compare
