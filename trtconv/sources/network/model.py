"""A script as something that runs: its recorded network on ONNX Runtime, which is said."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.core.events import ignore
from trtconv.core.records import SourceSpec
from trtconv.graph import model_io
from trtconv.sources.network.convert import recorded


class RecordedNetwork:
    """What a script built, in FP32.

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
        """ONNX Runtime, on what was recorded: not a framework of the script's own."""
        return f"the recorded network on ONNX Runtime {onnxruntime.version()}"


def open_model(spec: SourceSpec) -> RecordedNetwork:
    """The script's network, ready to run.

    Raises:
        UsageError: code may not run.
        SourceError: the script fails, or builds no network.
    """
    model, _ = recorded(spec, ignore)
    with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
        file = Path(folder) / "network.onnx"
        model_io.save(model, file)
        return RecordedNetwork(onnxruntime.session(file))
