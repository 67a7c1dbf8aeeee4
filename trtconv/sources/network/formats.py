"""How scripts for TensorRT's network API are recognised, and what else the line asks of them."""

from __future__ import annotations

import re
from pathlib import Path

from trtconv.sources.format import Format

_IMPORTS = re.compile(rb"^\s*(?:import|from)\s+tensorrt\b", re.MULTILINE)


def _recognises(path: Path, start: bytes) -> bool:
    return path.suffix == ".py" and path.is_file() and _IMPORTS.search(path.read_bytes()) is not None


def _beside(path: Path) -> list[Path]:
    from trtconv.sources.network import describe

    return describe.beside(path)


NETWORK = Format(
    name="network",
    title="a Python script for TensorRT's network API",
    plural="scripts for TensorRT's network API",
    recognises=_recognises,
    beside=_beside,
    takes=frozenset({"weights", "python", "implicit_batch", "arguments", "api_version"}),
    describe="trtconv.sources.network.describe:describe",
    without_reference=lambda spec: "layers of a script have no framework but TensorRT itself",
    opens="trtconv.sources.network.model:open_model",
    to_onnx="trtconv.sources.network.convert:convert",
    asks="trtconv.sources.network.asks:asks",
    packages=("onnx", "numpy"),
    needs="trtconv.sources.network.needs:NEEDS",
)
