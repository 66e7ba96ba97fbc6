"""Rewrites of a module that change its speed and memory alone: fewer passes over large tensors, a better layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from graphdet.compiler.backends.torch.module import callable_of

_RESULT_NOT_SAVED = ("conv2d", "batch_norm", "batch_norm_train", "group_norm", "add")
"""Ops whose gradient needs their operands, not their result: whoever alone uses that may overwrite it."""


def faster(module: fx.GraphModule, device: Any = "cpu") -> fx.GraphModule:
    """The module on a device, made fast in place; parameters and their names stay, results differ by rounding alone.

    Norms with stored statistics go into the weights of the convolution before them, sums and ReLUs overwrite what
    nothing else reads, and kernels lie with channels innermost, as convolutions are fastest.
    """
    for node in module.graph.nodes:
        if _is(node, "batch_norm") and _is(node.args[0], "conv2d") and len(node.args[0].users) == 1:
            conv = node.args[0]
            node.target, node.args = conv_stored_norm, (*conv.args, *node.args[1:])
            node.kwargs = {**conv.kwargs, **node.kwargs}
    module.graph.eliminate_dead_code()
    for node in module.graph.nodes:
        if _is(node, "relu") and _is_spare(node.args[0]):
            node.target = torch.relu_
        elif _is(node, "add") and _is_spare(node.args[0]) and _same_shape(*node.args):
            node.target = add_in_place
    module.recompile()
    place: Any = module.to
    moved: fx.GraphModule = place(device, memory_format=torch.channels_last)
    return moved


def conv_stored_norm(
    x: Any, weight: Any, bias: Any, gamma: Any, beta: Any, mean: Any, var: Any, *, eps: float, **options: Any
) -> Any:
    """`batch_norm` of `conv2d`, as one convolution: the norm scales weights, which are far smaller than maps."""
    scale = gamma * torch.rsqrt(var + eps)
    shift = beta - mean * scale if bias is None else beta + (bias - mean) * scale
    return torch.nn.functional.conv2d(x, weight * scale[:, None, None, None], shift, **options)


def add_in_place(a: Any, b: Any) -> Any:
    """Their sum, in a's memory where mixed precision has not given it the narrower type."""
    return a.add_(b) if a.dtype == b.dtype else a + b


def _is(node: Any, name: str) -> bool:
    return isinstance(node, fx.Node) and node.target is callable_of(name)


def _is_spare(node: Any) -> bool:
    """Whether a node's result has one reader, and its own gradient does not read it."""
    ours = isinstance(node, fx.Node) and node.target in (conv_stored_norm, add_in_place)
    return (ours or any(_is(node, name) for name in _RESULT_NOT_SAVED)) and len(node.users) == 1


def _same_shape(a: fx.Node, b: Any) -> bool:
    return isinstance(b, fx.Node) and b.meta.get("shape") == a.meta["shape"]
