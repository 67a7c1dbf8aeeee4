"""TensorFlow Lite models run by TensorFlow's own interpreter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
        content = repair.repaired(path) if model.unfit else path.read_bytes()
        try:
            self._interpreter = _ready(content, model.ops)
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


_UNLIKE = {"LOCAL_RESPONSE_NORMALIZATION"}
"""Operators whose reference kernel is at fault: of this one it leaves out the last channel of every sum."""


def _ready(content: bytes, ops: Collection[str]) -> Any:
    """An interpreter with the kernels that round as the format defines, or the usual ones where those do not serve.

    Raises:
        ValueError: a damaged model, or an operator without a kernel.
        RuntimeError: shapes that contradict each other.
    """
    native = tensorflow.load()
    kernels = native.lite.experimental.OpResolverType
    usual = kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    for kind in (usual,) if _UNLIKE.intersection(ops) else (kernels.BUILTIN_REF, usual):
        try:
            made = native.lite.Interpreter(model_content=content, experimental_op_resolver_type=kind)
        except (ValueError, RuntimeError):
            if kind == usual:
                raise
        else:
            break
    made.allocate_tensors()
    return made
