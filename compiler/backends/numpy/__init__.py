"""The oracle: run a graph by its ops' NumPy references."""

from graphdet.compiler.backends.numpy.execute import execute, sizes_of

__all__ = ["execute", "sizes_of"]
