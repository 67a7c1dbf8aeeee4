"""ONNX files, run by ONNX Runtime: they need no freezing."""

from __future__ import annotations

from trtconv.adapters import onnxruntime
from trtconv.core.records import SourceSpec


def open_model(spec: SourceSpec) -> onnxruntime.ReferenceModel:
    """The model, ready to run.

    Raises:
        SourceError: ONNX Runtime cannot load it.
    """
    return onnxruntime.ReferenceModel(onnxruntime.session(spec.path))
