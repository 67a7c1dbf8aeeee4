"""Building, describing and running engines; ONNX Runtime stands in where no GPU can."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtconv.engines.run.runner import Runner


def open_engine(model: Path) -> Runner:
    """An engine on this machine's GPU; see ``runner.open_engine``."""
    from trtconv.engines.run import runner

    return runner.open_engine(model)


def open_onnx(model: Path) -> Runner:
    """An ONNX file on ONNX Runtime; see ``runner.open_onnx``."""
    from trtconv.engines.run import runner

    return runner.open_onnx(model)


def open_parts(model: Path) -> Runner:
    """A model in parts: its engines on this machine's GPU, else their typed ONNX; see ``parts_runner.open_parts``."""
    from trtconv.core.events import ignore
    from trtconv.engines.run import parts_runner

    return parts_runner.open_parts(model, "auto", "auto", ignore)[0]
