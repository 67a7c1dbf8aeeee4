"""Typed ONNX from FP32 ONNX, and ONNX hygiene: functions from model to model."""
