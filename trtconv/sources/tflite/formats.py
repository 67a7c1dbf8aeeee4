"""How TensorFlow Lite files are recognised, and what else the line asks of them."""

from __future__ import annotations

from trtconv.sources.format import Format


def begins(start: bytes) -> bool:
    """Whether bytes have the mark of the format: four bytes after the offset of the root table."""
    return start[4:8] == b"TFL3"


TFLITE = Format(
    name="tflite",
    title="a TensorFlow Lite model",
    plural="TensorFlow Lite models",
    recognises=lambda _, start: begins(start),
    looks=lambda start: "a TensorFlow Lite model" if begins(start) else "",
    describe="trtconv.sources.tflite.describe:describe",
    opens="trtconv.sources.tflite.model:open_model",
    to_onnx="trtconv.sources.tflite.convert:convert",
    takes=frozenset({"python"}),
    needs="trtconv.adapters.tensorflow:NEEDS",
    own_code_elsewhere=True,
    packages=("tensorflow-cpu", "tensorflow", "tf-keras", "keras", "tf2onnx", "onnx"),
)
