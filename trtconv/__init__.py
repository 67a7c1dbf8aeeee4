"""trtconv: trained networks to calibrated, verified and measured TensorRT engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtconv.engines.run.callable_engine import Engine

__version__ = "0.1.0"
__all__ = ["Engine", "__version__"]


def __getattr__(name: str) -> Any:
    """``Engine`` brings NumPy and ONNX with it, so it comes when it is asked for."""
    if name == "Engine":
        from trtconv.engines.run.callable_engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
