"""Which passes run, in which order.

Each name is a module of `graphdet.compiler.passes` with a function `run(graph, context)`.
"""

OPTIMISE = (
    "bind_params",
    "bind_dims",
    "drop_dead",
    "dedupe",
    "fold_constants",
    "fuse_conv_norm",
    "delay_squash",
    "gather_first",
    "drop_dead",
    "dedupe",
)
