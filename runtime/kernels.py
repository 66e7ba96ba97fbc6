"""The extension with the native kernels, loaded when a kernel is first needed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from graphdet.errors import BackendMissing


def kernels() -> ModuleType:
    """`graphdet.runtime._C`. Raises BackendMissing when it cannot be loaded."""
    try:
        return import_module("graphdet.runtime._C")
    except ImportError as error:
        raise BackendMissing(
            f"the kernel extension graphdet.runtime._C cannot be loaded: {error}",
            help="install graphdet from a wheel, or build it in place: pip install -e .",
        ) from error
