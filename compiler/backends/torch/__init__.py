"""PyTorch: a graph as an `nn.Module` that trains. The only place where graphdet imports torch."""

from graphdet.compiler.backends.torch.module import load_weights, to_module

__all__ = ["load_weights", "to_module"]
