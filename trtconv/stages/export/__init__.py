"""export: engines and typed ONNX to a Triton model repository."""

from __future__ import annotations

from trtconv.stages.export.records import ExportRequest, ExportResult, Served

__all__ = ["ExportRequest", "ExportResult", "Served"]
