"""Attention that reads a few points of feature maps (Zhu et al. 2021, arXiv:2010.04159)."""

from __future__ import annotations

from collections.abc import Sequence

from graphdet import ops
from graphdet.blocks.linear import linear
from graphdet.blocks.transformer import dense, feed_forward, post_norm, width_of
from graphdet.ir.graph import Value
from graphdet.ir.trace import scope

HEADS, POINTS = 8, 4


def attend_to_points(
    name: str, query: Value, reference: Value, value: Value, inside: Value, levels: Sequence[Value]
) -> Value:
    """Multi-scale deformable attention (sec. 4.1): each query reads four points a head and level around its reference.

    Rows query [N Q C]; reference [N Q E 2] (x, y) or [N Q E 4] (and width, height) in parts of each of E maps; value
    [N S C], the cells of all levels; inside b[N S]: those that are not padding. Parameters `name.sampling_offsets`,
    `name.attention_weights`, `name.value_proj`, `name.output_proj`.
    """
    (n, q, _), width, e, s = query.shape, width_of(query), len(levels), value.dim(1)
    with scope(name):
        held = ops.where(ops.reshape(inside, shape=(n, s, 1)), dense("value_proj", value, width), 0.0)
        moves = linear("sampling_offsets", query, HEADS * e * POINTS * 2, rays=POINTS)
        moves = ops.reshape(moves, shape=(n, q, HEADS, e, POINTS, 2))
        weights = dense("attention_weights", query, HEADS * e * POINTS)
        weights = ops.softmax(ops.reshape(weights, shape=(n, q, HEADS, e * POINTS)))
        at = ops.reshape(reference, shape=(n, q, 1, e, 1, reference.dim(3)))
        if reference.dim(3) == 2:
            sizes = ops.concat(*(ops.reshape(ops.map_size(level), shape=(1, 1, 2)) for level in levels), axis=0)
            at = at + moves / sizes
        else:
            at = at[..., :2] + moves / float(POINTS) * at[..., 2:] * 0.5
        read = ops.deform_attention(
            ops.reshape(held, shape=(n, s, HEADS, width // HEADS)),
            at,
            ops.reshape(weights, shape=(n, q, HEADS, e, POINTS)),
            *levels,
        )
        return dense("output_proj", read, width)


def encode_points(
    x: Value, places: Value, reference: Value, inside: Value, levels: Sequence[Value], *, layers: int = 6,
    rate: float = 0.0,
) -> Value:  # fmt: skip
    """Layers in which the cells [N S C] of all levels read one another; parameters `encoder.layers.0`, ..."""
    for i in range(layers):
        with scope(f"encoder.layers.{i}"):
            x = post_norm(
                x,
                lambda x: attend_to_points("attentions.0", x + places, reference, x, inside, levels),
                lambda x: feed_forward(x, 1024, rate=rate),
                rate=rate,
            )
    return x
