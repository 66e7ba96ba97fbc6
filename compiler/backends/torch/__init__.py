"""PyTorch: a graph as an `nn.Module` that trains. Nothing else imports torch, and this only when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphdet.compiler.backends.torch.module import fast_layout as fast_layout
    from graphdet.compiler.backends.torch.module import load_weights as load_weights
    from graphdet.compiler.backends.torch.module import to_module as to_module

__all__ = ["fast_layout", "load_weights", "to_module"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # the target's row beside this file is read without torch
        return getattr(import_module("graphdet.compiler.backends.torch.module"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
