"""Segments on OpenVINO, CPU, float32. A segment is an ONNX model whose input names are the plan's value names."""

from __future__ import annotations

import mmap
import tempfile

import numpy as np
import openvino as ov
from openvino import op

from graphdet.errors import PrecisionMismatch
from graphdet.records import Array
from graphdet.runtime.kernels import kernels

LARGE = 1 << 16  # bytes from which a constant of a lean segment lies in a file


class OpenVinoSegment:
    """One compiled model and one inference request, whose output memory is used again by the next run.

    lean: what only a run needs is given back after it.
    """

    def __init__(self, model: ov.CompiledModel, *, lean: bool = False) -> None:
        self._model, self._lean = model, lean
        self._request = model.create_infer_request()
        self._count = len(model.outputs)
        self._names = {name for port in model.inputs for name in port.get_names()}

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """Run the model on arrays by input name."""
        kept = {name: array for name, array in inputs.items() if name in self._names}  # unused inputs are dropped
        result = self._request.infer(kept, share_inputs=True, share_outputs=True)
        if self._lean:
            self._model.release_memory()  # not the request's outputs
        return [result[i] for i in range(self._count)]

    def clone(self) -> OpenVinoSegment:
        """Another request of the same model."""
        return OpenVinoSegment(self._model, lean=self._lean)


def open_segment(blob: bytes, *, threads: int | None = None, lean: bool = False) -> OpenVinoSegment:
    """Compile ONNX model bytes for one stream with least delay; lean: or rather with least memory.

    Raises:
        PrecisionMismatch: the compiled model computes in another precision than float32.
    """
    kernels().refuse_external_data(blob)
    core = ov.Core()
    options: dict[str, object] = {"INFERENCE_PRECISION_HINT": ov.Type.f32, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    source = core.read_model(blob)
    mapped = _to_file(source) if lean else None
    model = core.compile_model(source, "CPU", options)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
    achieved = model.get_property("INFERENCE_PRECISION_HINT")
    if achieved != ov.Type.f32:
        raise PrecisionMismatch(f"openvino compiled the segment in {achieved}, f32 was requested")
    return OpenVinoSegment(model, lean=lean)


def _to_file(model: ov.Model) -> mmap.mmap | None:
    """Move large constants into a file without a name, and map it; None where there are none.

    OpenVINO keeps the constants of a model beside the copies that its kernels read, and hardly looks at them again.
    """
    large = [n for n in model.get_ops() if isinstance(n, op.Constant) and n.get_byte_size() >= LARGE]
    if not large:
        return None
    starts = []
    with tempfile.TemporaryFile() as file:
        for constant in large:
            starts.append(file.tell())
            data = np.ascontiguousarray(constant.data)
            file.write(data.data)
            file.write(bytes(-data.nbytes % 64))
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    for constant, start in zip(large, starts, strict=True):
        before = constant.data
        array = np.frombuffer(mapped, before.dtype, before.size, start).reshape(before.shape)
        made = op.Constant(array, shared_memory=True)
        made.set_friendly_name(constant.get_friendly_name())
        constant.output(0).replace(made.output(0))
    return mapped
