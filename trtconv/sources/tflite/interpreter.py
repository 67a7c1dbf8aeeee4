"""TensorFlow Lite models run by TensorFlow's own interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.adapters import tensorflow
from trtconv.core.errors import SourceError
from trtconv.sources.tflite import file, repair


class LiteNetwork:
    """A TensorFlow Lite model.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        model = file.read(path)
        self.inputs, self.outputs, self._indices = model.inputs, model.outputs, model.indices
        native = tensorflow.load()
        content = repair.repaired(path) if model.unfit else path.read_bytes()
        try:
            self._interpreter: Any = native.lite.Interpreter(
                model_content=content, experimental_op_resolver_type=native.lite.experimental.OpResolverType.BUILTIN_REF
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise SourceError(
                f"{path}: TensorFlow Lite cannot run it: {tensorflow.reason(error)}",
                hint="convert it with check: false, or export the model again",
            ) from error

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        for info in self.inputs:
            self._interpreter.resize_tensor_input(self._indices[info.name], feeds[info.name].shape)
        self._interpreter.allocate_tensors()
        for info in self.inputs:
            self._interpreter.set_tensor(self._indices[info.name], feeds[info.name])
        self._interpreter.invoke()
        return {info.name: self._interpreter.get_tensor(self._indices[info.name]) for info in self.outputs}

    def framework(self) -> str:
        """TensorFlow Lite and its version."""
        return f"TensorFlow Lite of {tensorflow.framework()}"
