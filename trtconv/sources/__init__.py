"""One file per source format: anything to a frozen graph or FP32 ONNX."""
