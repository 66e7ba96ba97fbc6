"""The compiler: from a declared detector and its weights to an engine that is proven to say the same."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphdet.compiler.build import compile as compile
    from graphdet.compiler.build import explain as explain
    from graphdet.compiler.build import graph_of as graph_of

__all__ = ["compile", "explain", "graph_of"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("graphdet.compiler.build"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
