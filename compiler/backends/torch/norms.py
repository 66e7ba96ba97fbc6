"""Batch norms of a training module: kept fixed, joined over processes, or set up anew from folded weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import distributed, fx

_TRAINING, _STORED = "batch_norm_train", "batch_norm"


def freeze_norms(module: fx.GraphModule, patterns: Sequence[str]) -> int:
    """Let norms whose name a pattern is found at the start of use their stored statistics. Returns how many do."""
    from graphdet.compiler.backends.torch.module import callable_of

    count = 0
    for node in _norms(module):
        if any(re.match(p, name_of(node)) for p in patterns):
            node.target, node.args = callable_of(_STORED), node.args[:5]
            node.kwargs = {"eps": node.kwargs["eps"]}
            count += 1
    module.recompile()
    return count


def synchronise_norms(module: fx.GraphModule) -> None:
    """Let norms take their statistics from the batches of all processes (Peng et al. 2018, arXiv:1711.07240)."""
    for node in _norms(module):
        node.target = synchronised_batch_norm
    module.recompile()


def name_of(node: fx.Node) -> str:
    """The prefix of a norm's parameter names."""
    weight: Any = node.args[1]
    return str(weight.target).rpartition(".")[0]


def _norms(module: fx.GraphModule) -> Iterator[fx.Node]:
    for node in module.graph.nodes:
        if node.op == "call_function" and getattr(node.target, "__name__", "") == _TRAINING:
            yield node


def synchronised_batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, seen: Any, *, eps: float, momentum: float
) -> Any:
    """`batch_norm_train` over the batches of all processes; gradients flow through the shared statistics."""
    axes = (0, *range(2, x.ndim))
    wide = x.float()
    column = (1, -1, *([1] * (x.ndim - 2)))
    count = torch.tensor([float(x.numel() // x.shape[1])], device=x.device)
    join: Callable[[Any], Any] = _Sum.apply
    number = join(count)
    centre = join(wide.sum(axes)) / number
    offset = wide - centre.reshape(column)
    spread = join(offset.square().sum(axes)) / number
    with torch.no_grad():
        seen.add_(1)
        mean.lerp_(centre, momentum)
        var.lerp_(spread * (number / (number - 1).clamp_min(1)), momentum)
    scale = weight * torch.rsqrt(spread + eps)
    return (offset * scale.reshape(column) + bias.reshape(column)).to(x.dtype)


class _Sum(torch.autograd.Function):
    """Sum over processes; the gradient is summed likewise, as every process uses the sum."""

    @staticmethod
    def forward(context: Any, x: Any) -> Any:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


@torch.no_grad()
def refit_norms(module: fx.GraphModule, batches: Iterable[Mapping[str, Any]]) -> int:
    """Give folded norms (mean 0, variance 1: the convolution before holds them) the statistics of their inputs.

    The stored function stays the same: with mean m and variance v of what a norm receives, weight becomes
    weight sqrt(v + eps) / sqrt(1 + eps) and bias becomes bias + weight m / sqrt(1 + eps). Returns how many there were.
    """
    folded = {name_of(node): node for node in _norms(module) if _is_folded(module, node)}
    watch = _Watch(module, folded)
    for batch in batches if folded else ():
        watch.run(*(batch[n.target] if n.target in batch else n.args[0] for n in watch.placeholders))
    for name, node in folded.items():
        total, squares, number = watch.sums[name]
        centre = total / number
        spread = squares / number - centre.square()
        weight, bias, mean, var = (module.get_parameter(a.target) if i < 2 else module.get_buffer(a.target)
                                   for i, a in enumerate(_operands(node)))  # fmt: skip
        eps = float(node.kwargs["eps"])  # type: ignore[arg-type]
        gain = weight / (1 + eps) ** 0.5
        bias.add_(gain * centre.to(bias.dtype))
        weight.copy_(gain * torch.sqrt(spread + eps).to(weight.dtype))
        mean.copy_(centre.to(mean.dtype))
        var.copy_(spread.to(var.dtype))
    return len(folded)


def _operands(node: fx.Node) -> list[Any]:
    return list(node.args[1:5])


def _is_folded(module: fx.GraphModule, node: fx.Node) -> bool:
    mean, var = (module.get_buffer(a.target) for a in _operands(node)[2:])
    return bool((mean == 0).all() and (var == 1).all())


class _Watch(fx.Interpreter):
    """Runs a module with norms that use stored statistics, and sums up what the watched ones receive."""

    def __init__(self, module: fx.GraphModule, watched: Mapping[str, fx.Node]) -> None:
        super().__init__(module)
        self.names = {node: name for name, node in watched.items()}
        self.sums: dict[str, tuple[Any, Any, int]] = {}
        self.placeholders = [n for n in module.graph.nodes if n.op == "placeholder"]
        self.stored: Callable[..., Any] = torch.nn.functional.batch_norm

    def run_node(self, n: fx.Node) -> Any:
        if n.op != "call_function" or getattr(n.target, "__name__", "") != _TRAINING:
            return super().run_node(n)
        x, weight, bias, mean, var, _ = (self.env[a] for a in n.args if isinstance(a, fx.Node))
        if n in self.names:
            axes, wide = (0, *range(2, x.ndim)), x.double()
            total, squares, number = self.sums.get(self.names[n], (0, 0, 0))
            found = wide.sum(axes), wide.square().sum(axes), x.numel() // x.shape[1]
            self.sums[self.names[n]] = total + found[0], squares + found[1], number + found[2]
        return self.stored(x, mean, var, weight, bias, False, 0.0, n.kwargs["eps"])
