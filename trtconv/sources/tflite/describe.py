"""What a TensorFlow Lite file holds."""

from __future__ import annotations

from pathlib import Path

from trtconv.sources.records import Description, Tensors
from trtconv.sources.tflite import file


def describe(path: Path) -> Description:
    """Tensors, signatures and operators."""
    model = file.read(path)
    title = f"TensorFlow Lite model{', quantized' if model.quantized else ''}"
    facts = {"quantized": model.quantized, "signatures": model.signatures}
    return Description(title, model.ops, facts, [Tensors(model.inputs, model.outputs)])
