"""OpenVINO on CPU: dense segments as ONNX models, which it compiles when the engine is opened."""

from __future__ import annotations

from graphdet.compiler.backends.onnx.target import OPSET, build
from graphdet.compiler.backends.target import Target

TARGET = Target(
    name="openvino",
    dtypes=("f32",),
    opset=OPSET,
    install="pip install openvino",
    build=build,
    notes=("float32 is asked for by name: some processors would otherwise get bfloat16",),
)

__all__ = ["TARGET", "build"]
