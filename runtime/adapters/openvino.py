"""Segments on OpenVINO, CPU, float32. A segment is an ONNX model whose input names are the plan's value names."""

from __future__ import annotations

import openvino as ov

from graphdet.errors import PrecisionMismatch
from graphdet.records import Array
from graphdet.runtime.kernels import kernels


class OpenVinoSegment:
    """One compiled model and one inference request, whose output memory is used again by the next run."""

    def __init__(self, model: ov.CompiledModel) -> None:
        self._model = model
        self._request = model.create_infer_request()
        self._count = len(model.outputs)
        self._names = {name for port in model.inputs for name in port.get_names()}

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """Run the model on arrays by input name."""
        kept = {name: array for name, array in inputs.items() if name in self._names}  # unused inputs are dropped
        result = self._request.infer(kept, share_inputs=True, share_outputs=True)
        return [result[i] for i in range(self._count)]

    def clone(self) -> OpenVinoSegment:
        """Another request of the same model."""
        return OpenVinoSegment(self._model)


def open_segment(blob: bytes, *, threads: int | None = None) -> OpenVinoSegment:
    """Compile ONNX model bytes for one stream with least delay.

    Raises:
        PrecisionMismatch: the compiled model computes in another precision than float32.
    """
    kernels().refuse_external_data(blob)
    core = ov.Core()
    options: dict[str, object] = {"INFERENCE_PRECISION_HINT": ov.Type.f32, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    model = core.compile_model(core.read_model(blob), "CPU", options)
    achieved = model.get_property("INFERENCE_PRECISION_HINT")
    if achieved != ov.Type.f32:
        raise PrecisionMismatch(f"openvino compiled the segment in {achieved}, f32 was requested")
    return OpenVinoSegment(model)
