"""Fully connected layers."""

from __future__ import annotations

from graphdet import ops
from graphdet.ir.graph import Value
from graphdet.ir.trace import parameter, scope


def linear(
    name: str, x: Value, out: int,
    *, gain: float = 1.0, deviation: float = 0.0, bias_value: float = 0.0, rays: int = 0,
) -> Value:  # fmt: skip
    """Rows [... C] to [... out]; parameters `name.weight`, `name.bias`.

    gain: of the He initialisation · deviation: standard deviation of the initial weights instead · rays: the weights
    are 0, the biases points on this many rings, in eight directions (see `initial_values`).
    """
    init, value = ("normal", deviation) if deviation else ("kaiming", gain)
    start, first = ("rays", float(rays)) if rays else ("constant", bias_value)
    if rays:
        init, value = "constant", 0.0
    with scope(name):
        weight = parameter("weight", out, x.dim(-1), init=init, value=value)
        bias = parameter("bias", out, init=start, value=first)
    return ops.linear(x, weight, bias)
