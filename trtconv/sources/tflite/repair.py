"""A TensorFlow Lite file as tf2onnx has to have it: every tensor with a name of its own, and axes that exist."""

from __future__ import annotations

from pathlib import Path

from trtconv.adapters import tensorflow
from trtconv.sources.tflite import file


def repaired(path: Path) -> bytes:
    """The file with names, which are optional in the format, and without the axes that old converters gave vectors."""
    tensorflow.load()
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    for graph in model.subgraphs:
        names = file.tensor_names([(tensor.name or b"").decode() for tensor in graph.tensors])
        for tensor, name in zip(graph.tensors, names, strict=True):
            tensor.name = name
            quantization = tensor.quantization
            rank = 0 if tensor.shape is None else len(tensor.shape)
            if quantization is not None and quantization.quantizedDimension >= max(rank, 1):
                quantization.quantizedDimension = 0
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
