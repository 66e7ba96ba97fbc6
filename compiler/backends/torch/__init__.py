"""PyTorch: a graph as an `nn.Module` that trains. Nothing else imports torch, and this only when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphdet.compiler.backends.torch.module import load_weights as load_weights
    from graphdet.compiler.backends.torch.module import to_module as to_module
    from graphdet.compiler.backends.torch.speed import faster as faster

_HOMES = {"load_weights": "module", "to_module": "module", "faster": "speed"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # the target's row beside this file is read without torch
        return getattr(import_module(f"graphdet.compiler.backends.torch.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
