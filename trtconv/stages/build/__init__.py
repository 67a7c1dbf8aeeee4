"""build: a typed ONNX model becomes a TensorRT plan (.engine) and its facts (.engine.json), or parts (.parts)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core.events import Emit
from trtconv.stages.build.records import BuildRequest, BuildResult

if TYPE_CHECKING:
    from trtconv.core import child

__all__ = ["BuildRequest", "BuildResult", "aside", "build"]


def aside(request: BuildRequest, emit: Emit, log: Path) -> child.Outcome:
    """The same for the process that plans a job: what is heavy has processes of its own, and nothing else waits.

    Args:
        request: what to build.
        emit: gets the events.
        log: file for what a model in parts, or one with plugins, prints while it is built.
    """
    from trtconv.core import child, writable

    if request.fallback != "none" or request.plugins:  # plugins run in processes that have the user's leave
        return child.call(f"{__name__}:build", request, emit, log)
    from trtconv.stages.build.one_engine import build_aside

    with writable.told():
        return build_aside(request, emit)


def build(request: BuildRequest, emit: Emit) -> BuildResult:
    """Build a plan, or parts where the request allows nodes to fall back; see ``build_engine``, ``build_parts``."""
    if request.fallback == "none":
        from trtconv.stages.build.one_engine import build_engine

        return build_engine(request, emit)
    from trtconv.stages.build.parts import build_parts

    return build_parts(request, emit)
