"""The smallest TensorFlow Lite model, for the conformance test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def tflite(folder: Path) -> Path:
    import tensorflow as tf

    weights = tf.constant(np.arange(12, dtype=np.float32).reshape(4, 3) / 10 - 0.5)

    @tf.function(input_signature=[tf.TensorSpec([2, 4], tf.float32, "x")])
    def call(x: Any) -> Any:
        return {"y": tf.nn.relu(x @ weights)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
    (folder / "model.tflite").write_bytes(converter.convert())
    return folder / "model.tflite"


MODELS = {"tflite": tflite}
