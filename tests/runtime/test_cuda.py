"""CUDA kernels without a GPU: the emulation keeps its own promises, and no kernel is forgotten."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.runtime.devices import PRESETS, ROOT, build, module


@pytest.mark.slow
def test_emulation_itself() -> None:
    program = build(PRESETS["emulated"]).parent / "cuda_tests"
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ tests, 0 failed checks$", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_emulated_module_has_every_kernel_with_a_cuda_file() -> None:
    found = module("emulated")
    for source in (ROOT / "csrc" / "ops").glob("*/*_cuda.cu"):
        binding = source.with_name(source.name.replace("_cuda.cu", "_bind.cpp")).read_text(encoding="utf-8")
        names = re.findall(r'm\.def\(\s*"(\w+)"', binding)
        assert names
        assert all(hasattr(found, name) for name in names)
