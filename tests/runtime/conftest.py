"""The devices on which kernels are tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.devices import _C, DEVICES, module


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the tests of a module on each device; skips where there is none."""
    name = str(request.param)
    module(name)
    _C.device = name
    yield name
    _C.device = "cpu"
