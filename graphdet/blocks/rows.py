"""Between feature maps and rows of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from graphdet import ops
from graphdet.ir.graph import Value


def to_cells(x: Value, last: int) -> Value:
    """Predictions [N A*last H W] as rows [N H*W*A last]: row-major cells, the A predictions of a cell innermost."""
    return ops.reshape(ops.transpose(x, order=(0, 2, 3, 1)), shape=(x.dim(0), -1, last))


def rows(levels: Sequence[Value], last: int) -> Value:
    """The rows of all levels joined: [N A last]."""
    return ops.concat(*(to_cells(x, last) for x in levels), axis=1)


def sums_by_level(terms: Value, levels: Sequence[Value]) -> list[Value]:
    """The sum of terms [N A] over the rows that come from each level, whose priors are [A_i 4]."""
    sums, start = [], levels[0].dim(0) * 0
    for level in levels:
        sums.append(ops.total(terms[:, start : start + level.dim(0)]))
        start = start + level.dim(0)
    return sums
