"""Which GPU this machine has, read from the driver's files without loading CUDA."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PROC = Path("/proc/driver/nvidia")


@cache
def fingerprint() -> str:
    """Driver version and GPU models as one line; empty without an NVIDIA driver."""
    version = _first_line(_PROC / "version")
    models = [_model(path) for path in sorted(_PROC.glob("gpus/*/information"))]
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    return "; ".join(part for part in [version, *models, *devices] if part)


def _first_line(path: Path) -> str:
    try:
        return path.read_text().splitlines()[0].strip()
    except (OSError, IndexError):
        return ""


def _model(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model:")), "")
