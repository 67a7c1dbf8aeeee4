"""build: a typed ONNX model becomes a TensorRT plan (.engine) and its facts (.engine.json), or parts (.parts)."""

from __future__ import annotations

from trtconv.core.events import Emit
from trtconv.stages.build.records import BuildRequest, BuildResult

__all__ = ["BuildRequest", "BuildResult", "build"]


def build(request: BuildRequest, emit: Emit) -> BuildResult:
    """Build a plan, or parts where the request allows nodes to fall back; see ``build_engine``, ``build_parts``."""
    if request.fallback == "none":
        from trtconv.stages.build.one_engine import build_engine

        return build_engine(request, emit)
    from trtconv.stages.build.parts import build_parts

    return build_parts(request, emit)
