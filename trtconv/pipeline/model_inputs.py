"""The inputs of a job's ONNX model, for what planning refuses."""

from __future__ import annotations

from pathlib import Path

from trtconv.core.records import TensorInfo


def of(model: Path) -> tuple[TensorInfo, ...]:
    """Name, type and shape of each; the onnx package is loaded only for what cannot be read without it.

    Raises:
        SourceError: missing, truncated or foreign file.
    """
    from trtconv.core import onnx_outline

    found = onnx_outline.inputs(model)
    if found is None:
        from trtconv.graph import model_io

        found = model_io.interface(model_io.load(model, weights=False))[0]
    return found
