"""Where kernels run in a test: the CPU, its emulation of a GPU, or a GPU. One set of tests serves all three."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # cmake and ninja of the wheels

DEVICES = ("cpu", pytest.param("emulated", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu))
PRESETS = {"emulated": os.environ.get("GRAPHDET_EMULATE", "emulate"), "cuda": "cuda"}  # of CMakePresets.json


@functools.cache
def build(preset: str) -> Path:
    """The module `_cuda` of a CMake preset, brought up to date. Skips where its compiler is missing."""
    for tool in ("cmake", "ninja", "nvcc" if preset == "cuda" else "c++"):
        if shutil.which(tool, path=PATH) is None:
            pytest.skip(f"needs {tool}")
    # A sanitizer that is preloaded for the module would slow the compiler down too.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | {"PATH": PATH}
    configure = ["cmake", "--preset", preset, f"-DPython_EXECUTABLE={sys.executable}"]
    for words in (configure, ["cmake", "--build", "--preset", preset, "--parallel", "2"]):
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return next((ROOT / "build" / preset).glob("_cuda*.so"))


@functools.cache
def module(device: str) -> Any:
    """The kernels of a device; untyped, because many tests pass what the stub forbids."""
    if device == "cpu":
        return importlib.import_module("graphdet.runtime._C")
    spec = importlib.util.spec_from_file_location("_cuda", build(PRESETS[device]))
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    if found.devices() == 0:
        pytest.skip("needs an NVIDIA GPU")
    return found


class Kernels:
    """The kernels of the device that the fixture `device` chose last."""

    device = "cpu"

    def __getattr__(self, name: str) -> Any:
        """A function of the module."""
        return getattr(module(self.device), name)

    def schedules(self) -> Iterator[None]:
        """Numbers of threads of the CPU, orders of threads of the emulation; a GPU takes its own, so it runs twice."""
        if self.device == "cuda":
            yield from (None, None)
            return
        choose, choices = (self.set_threads, (1, 2, 7)) if self.device == "cpu" else (self.set_order, (-1, 1, 12345))
        for choice in choices:
            choose(choice)
            yield
        choose(0)


_C = Kernels()
