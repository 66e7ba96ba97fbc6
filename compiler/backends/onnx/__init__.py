"""A graph as one ONNX model of standard operators: the segment format of ONNX Runtime and OpenVINO, and a target of its own."""
