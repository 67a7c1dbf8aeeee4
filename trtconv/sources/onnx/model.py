"""ONNX files, run by ONNX Runtime: they need no freezing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.core.records import SourceSpec


class OnnxModel:
    """An ONNX model as its own reference.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.
    """

    def __init__(self, session: onnxruntime.Session) -> None:
        self._session = session
        self.inputs = session.inputs
        self.outputs = session.outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        return self._session.run(feeds)

    def framework(self) -> str:
        """ONNX Runtime and its version."""
        return f"ONNX Runtime {onnxruntime.version()}"


def open_model(spec: SourceSpec) -> OnnxModel:
    """The model, ready to run.

    Raises:
        SourceError: ONNX Runtime cannot load it.
    """
    return OnnxModel(onnxruntime.session(spec.path))
