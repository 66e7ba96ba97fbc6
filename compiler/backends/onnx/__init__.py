"""A graph as one ONNX model of standard operators: the form of segments, and a target of its own."""
