"""Transformer layers (Vaswani et al. 2017, arXiv:1706.03762), in the order of sums and norms of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable

from graphdet import ops
from graphdet.blocks.linear import linear
from graphdet.blocks.rows import to_cells
from graphdet.errors import BadAttribute
from graphdet.ir.graph import Value
from graphdet.ir.source import here, render
from graphdet.ir.trace import by_phase, current, graph_input, parameter, scope
from graphdet.ir.types import tensor


def width_of(x: Value) -> int:
    """The number of channels of rows [... C]. Raises BadAttribute if it is not a number."""
    width = x.dim(-1).constant
    if width is None:
        raise BadAttribute(f"{x.type}: its last axis must be a number of channels", where=render(here()))
    return width


def layer_norm(name: str, x: Value, eps: float = 1e-5) -> Value:
    """Layer norm over the channels of rows [... C]; parameters `name.weight`, `name.bias`."""
    with scope(name):
        weight = parameter("weight", x.dim(-1), init="constant", value=1.0)
        return ops.layer_norm(x, weight, parameter("bias", x.dim(-1), init="constant"), eps=eps)


def dense(name: str, x: Value, out: int, *, bias_value: float = 0.0) -> Value:
    """A fully connected layer that starts as Glorot and Bengio 2010 have it."""
    deviation = math.sqrt(2 / (width_of(x) + out))
    return linear(name, x, out, deviation=deviation, bias_value=bias_value)


def embedding(name: str, count: int, width: int) -> Value:
    """Learned rows [count width]; parameter `name.weight`."""
    with scope(name):
        return parameter("weight", count, width, init="normal", value=1.0)


def dropped(x: Value, rate: float) -> Value:
    """In training, a part of the numbers becomes 0, another at each step and each place."""
    return by_phase(train=lambda: ops.dropout(x, _step(), rate=rate, stream=_place()), infer=lambda: x) if rate else x


def _step() -> Value:
    return graph_input("sampling_seed", tensor("f32"), default=0.0, places=())


def _place() -> int:
    """How many places of the trace drop numbers so far."""
    return sum(n.name == "dropout" or n.attributes.get("rate", 0.0) > 0 for n in current().nodes)


def attend(
    name: str, query: Value, key: Value, value: Value, seen: Value | None = None, *, heads: int = 8, rate: float = 0.0
) -> Value:
    """Multi-head attention with its projections (sec. 3.2.2); parameters `name.attn.in_proj_weight`, ...

    Rows query [N Q C], key and value [N K C]; seen b[N Q K], or b[N 1 K]: the keys that queries attend to.
    """
    width = width_of(query)
    with scope(name), scope("attn"):
        weight = parameter("in_proj_weight", 3 * width, width, init="normal", value=math.sqrt(1 / (2 * width)))
        bias = parameter("in_proj_bias", 3 * width, init="constant")
        parts = [slice(i * width, (i + 1) * width) for i in range(3)]
        q, k, v = (ops.linear(x, weight[part], bias[part]) for x, part in zip((query, key, value), parts, strict=True))
        seed = by_phase(train=lambda: _step() if rate else None, infer=lambda: None)
        stream = _place() if seed else 0
        read = ops.attention(q, k, v, seen, seed, heads=heads, rate=rate if seed else 0.0, stream=stream)
        return dense("out_proj", read, width)


def post_norm(x: Value, *parts: Callable[[Value], Value], rate: float = 0.0) -> Value:
    """Part after part, x + part(x), then layer norm (sec. 3.1); parameters `norms.0`, `norms.1`, ...

    rate: of the numbers of part(x) that training drops (sec. 5.4).
    """
    for i, part in enumerate(parts):
        x = layer_norm(f"norms.{i}", x + dropped(part(x), rate))
    return x


def feed_forward(x: Value, hidden: int, *, rate: float = 0.0) -> Value:
    """Two layers on each row (sec. 3.3); parameters `ffns.0.layers.0.0`, `ffns.0.layers.1`."""
    with scope("ffns.0.layers"):
        return dense("1", dropped(ops.relu(dense("0.0", x, hidden)), rate), width_of(x))


def sine_places(level: Value, inside: Value, *, offset: float = 0.0) -> Value:
    """Encodings [N H*W C] of where each cell lies in its own image (Carion et al. 2020, app. A.4).

    `inside` b[N H*W] has the cells that are not padding; rows and columns are counted among those alone and scaled to
    2 pi, half of the C channels for each. offset: added to the count, in cells.
    """
    n, width, h, w = level.shape
    real = ops.reshape(ops.cast(inside, to="f32"), shape=(n, h, w))

    def angles(axis: int) -> Value:
        places = ops.running_total(real, axis=axis)
        last = places[:, h - 1 : h] if axis == 1 else places[:, :, w - 1 : w]
        return ops.sine_encoding((places + offset) / (last + 1e-6) * (2 * math.pi), features=(width.constant or 0) // 2)

    return ops.reshape(ops.concat(angles(1), angles(2), axis=-1), shape=(n, h * w, width))


def to_rows(level: Value) -> Value:
    """A feature map [N C H W] as rows [N H*W C]."""
    return to_cells(level, level.dim(1).constant or 0)
