"""graphdet: detectors declared once as typed graphs, trained in PyTorch, compiled to engines that say the same.

Everything here is loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphdet._version import __version__

if TYPE_CHECKING:
    from graphdet.compiler import compile as compile
    from graphdet.errors import GdError as GdError
    from graphdet.ir import Detector as Detector
    from graphdet.ir import Graph as Graph
    from graphdet.ir.detector import trace as trace
    from graphdet.records import Detections as Detections
    from graphdet.runtime import Engine as Engine
    from graphdet.runtime import load as load
    from graphdet.zoo import get as get

_HOMES = {
    "Detections": "graphdet.records",
    "Detector": "graphdet.ir",
    "Engine": "graphdet.runtime",
    "GdError": "graphdet.errors",
    "Graph": "graphdet.ir",
    "compile": "graphdet.compiler",
    "get": "graphdet.zoo",
    "load": "graphdet.runtime",
    "trace": "graphdet.ir",
}

__all__ = ["Detections", "Detector", "Engine", "GdError", "Graph", "__version__", "compile", "get", "load", "trace"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'graphdet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
