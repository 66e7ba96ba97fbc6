"""Functions from Value to Value made of ops: what most papers call a layer. They hold no state."""

from graphdet.blocks.conv import batch_norm, conv, conv_module, separable, silu_module
from graphdet.blocks.rows import rows, to_cells

__all__ = ["batch_norm", "conv", "conv_module", "rows", "separable", "silu_module", "to_cells"]
