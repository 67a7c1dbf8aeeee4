"""A TensorFlow Lite file becomes an ONNX model, by tf2onnx."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from trtconv.adapters import tf2onnx
from trtconv.adapters.weight_placeholders import Held
from trtconv.sources.tflite import handlers


def to_onnx(path: Path, tensors: Mapping[str, str], opset: int, scratch: Path, *, dequantize: bool) -> onnx.ModelProto:
    """Convert a TensorFlow Lite file.

    Args:
        path: of the file.
        tensors: name of the tensor in the file, by public name.
        opset: of the model.
        scratch: folder with room for the weights.
        dequantize: whether quantized arithmetic becomes floating-point arithmetic.

    Raises:
        ConversionError: an opset out of range, or a failure inside.
        MissingPackage: tf2onnx is not installed.
    """
    tf2onnx.require_opset(opset)
    with tf2onnx.repaired(), Held(scratch) as held:
        rename = {tensor: name for name, tensor in tensors.items()}
        return tf2onnx.convert(
            None, opset, held, handlers.HANDLERS, tflite_path=str(path), dequantize=dequantize, tensors_to_rename=rename
        )
