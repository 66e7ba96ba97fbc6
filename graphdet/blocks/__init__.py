"""Functions from Value to Value made of ops: what most papers call a layer. They hold no state."""

from graphdet.blocks.conv import batch_norm, conv, conv_module, conv_transpose, group_module, separable, silu_module
from graphdet.blocks.deform import deform_conv
from graphdet.blocks.linear import linear
from graphdet.blocks.rows import rows, sums_by_level, to_cells

__all__ = [
    "batch_norm", "conv", "conv_module", "conv_transpose", "deform_conv", "group_module", "linear", "rows",
    "separable", "silu_module", "sums_by_level", "to_cells",
]  # fmt: skip
