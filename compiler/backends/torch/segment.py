"""Run a segment that `target.build` wrote: the adapter of the torch target."""

from __future__ import annotations

import torch

from graphdet.compiler.backends.torch.module import to_module
from graphdet.errors import CorruptArtefact
from graphdet.ir.text import parse
from graphdet.records import Array
from graphdet.runtime.artefact import unpack_arrays


class TorchSegment:
    """A segment as a PyTorch module in evaluation mode."""

    def __init__(self, module: torch.nn.Module, outputs: tuple[str, ...]) -> None:
        self.module, self.outputs = module, outputs

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """Outputs in the graph's order, none of them in the memory of an input, which the caller uses again."""
        given = {k.replace(".", "_"): torch.from_numpy(v) for k, v in inputs.items()}
        borrowed = {x.untyped_storage().data_ptr() for x in given.values()}
        with torch.inference_mode():
            made = self.module(**given)
            found = [made[name] for name in self.outputs]
            return [(x.clone() if x.untyped_storage().data_ptr() in borrowed else x).numpy() for x in found]

    def clone(self) -> TorchSegment:
        """Itself: a module in evaluation mode may run on several threads."""
        return self


def open_segment(blob: bytes, *, threads: int | None = None, lean: bool = False) -> TorchSegment:
    """Parse the graph and build its module.

    `threads` sets PyTorch's number of threads, which is one for the process. PyTorch is as lean as it gets.
    """
    length = int.from_bytes(blob[:8], "little")
    if length > len(blob) - 8:
        raise CorruptArtefact("the torch segment is shorter than its graph text")
    arrays = unpack_arrays(blob[8 + length :])
    graph = parse(blob[8 : 8 + length].decode(), arrays)
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchSegment(to_module(graph, arrays).eval(), tuple(graph.outputs))
