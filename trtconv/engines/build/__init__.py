"""Typed ONNX to a plan."""
