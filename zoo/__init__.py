"""The zoo: one file a paper. `ZOO` finds every variant by scanning the files; `get` returns one by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from graphdet.ir.detector import DetectorFunction, Variant, find_variant


@cache
def variants() -> Mapping[str, Variant]:
    """All variants by name, in the order of files and tables."""
    found: dict[str, Variant] = {}
    for module in iter_modules(__path__):
        if module.ispkg:
            continue
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, DetectorFunction):
                found.update(value.variants)
    return found


def get(name: str) -> Variant:
    """A variant by name. Raises UnknownName with the nearest known one."""
    return find_variant(variants(), name)


__all__ = ["get", "variants"]
