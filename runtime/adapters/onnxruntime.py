"""Segments on ONNX Runtime, CPU. A segment is an ONNX model whose input names are the plan's value names."""

from __future__ import annotations

import onnxruntime as ort

from graphdet.records import Array
from graphdet.runtime.kernels import kernels


class OnnxRuntimeSegment:
    """One session; outputs come in the model's order."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """Run the model on arrays by input name."""
        return list(self._session.run(None, inputs))

    def clone(self) -> OnnxRuntimeSegment:
        """Itself: a session may run on several threads."""
        return self


def open_segment(blob: bytes, *, threads: int | None = None, lean: bool = False) -> OnnxRuntimeSegment:
    """Open ONNX model bytes; ONNX Runtime computes in the model's own types, so precision is what the model says.

    lean: memory is given back after each run.
    """
    kernels().refuse_external_data(blob)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, not printed
    options.enable_cpu_mem_arena = not lean
    if threads is not None:
        options.intra_op_num_threads = threads
    return OnnxRuntimeSegment(ort.InferenceSession(blob, options, providers=["CPUExecutionProvider"]))
