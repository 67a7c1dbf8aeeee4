"""A script as something that runs: its recorded network on ONNX Runtime, which is said."""

from __future__ import annotations

from trtconv.adapters import onnxruntime
from trtconv.core import unfinished
from trtconv.core.events import ignore
from trtconv.core.records import SourceSpec
from trtconv.graph import model_io
from trtconv.sources.network.convert import recorded


def open_model(spec: SourceSpec) -> onnxruntime.ReferenceModel:
    """The script's network, ready to run.

    Raises:
        UsageError: code may not run.
        SourceError: the script fails, or builds no network.
    """
    model, _ = recorded(spec, ignore)
    with unfinished.scratch() as folder:
        file = folder / "network.onnx"
        model_io.save(model, file)
        return onnxruntime.ReferenceModel(onnxruntime.session(file), of="the recorded network")
