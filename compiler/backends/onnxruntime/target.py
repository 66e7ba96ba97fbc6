"""ONNX Runtime on CPU: dense segments as ONNX models, selection by the runtime's own kernels."""

from __future__ import annotations

from graphdet.compiler.backends.onnx.target import OPSET, build
from graphdet.compiler.backends.target import Target

TARGET = Target(
    name="onnxruntime",
    dtypes=("f32",),
    opset=OPSET,
    install="pip install onnxruntime",
    build=build,
    notes=("computes in the types that the model says",),
)

__all__ = ["TARGET", "build"]
