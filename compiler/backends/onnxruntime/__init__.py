"""Segments for ONNX Runtime."""
