"""Find the op that first makes a number that is not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


def first_bad(module: fx.GraphModule, inputs: dict[str, Any]) -> str:
    """`op at file:line` of the first op with a non-finite result from these inputs; empty where all are finite."""
    finder = _Finder(module)
    values = [inputs.get(n.target, n.args[0] if n.args else None) for n in module.graph.nodes if n.op == "placeholder"]
    with torch.no_grad():
        finder.run(*values)
    return finder.found


class _Finder(fx.Interpreter):
    found = ""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if self.found or n.op == "output" or not isinstance(result, torch.Tensor) or torch.isfinite(result).all():
            return result
        if n.op in ("get_attr", "placeholder"):
            self.found = f"the {'input' if n.op == 'placeholder' else 'parameter'} {n.target}"
        else:
            place = n.meta.get("place")
            where = f" at {place}" if place is not None else ""
            self.found = f"op {getattr(n.target, '__name__', n.target)}{where}"
        return result
