"""Scripts that build a network with TensorRT's network API: run against a recorder, then written as ONNX."""
