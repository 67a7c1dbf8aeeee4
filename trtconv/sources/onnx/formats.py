"""How ONNX files are recognised, and what else the line asks of them."""

from __future__ import annotations

from pathlib import Path

from trtconv.core import external, magic
from trtconv.sources.format import Format

_SECOND = b"\x12\x1a\x22\x28\x32\x3a\x42"
"""Tags of the fields that can follow the IR version in a ModelProto."""


def begins(start: bytes) -> bool:
    """Whether bytes begin like a ModelProto: an IR version (field 1), then another field that it can have."""
    if start[:1] != b"\x08":
        return False
    version, after = magic.varint(start, 1)
    return 0 < version < 1000 and start[after : after + 1] in [_SECOND[i : i + 1] for i in range(len(_SECOND))]


def _recognises(path: Path, start: bytes) -> bool:
    return any(path.glob("*.onnx")) if path.is_dir() else begins(start)


def _beside(path: Path) -> list[Path]:
    return [path.parent / location for location in external.locations(path)]


ONNX = Format(
    name="onnx",
    title="an ONNX model",
    plural="ONNX models",
    recognises=_recognises,
    looks=lambda start: "an ONNX model" if begins(start) else "",
    beside=_beside,
    describe="trtconv.sources.onnx.describe:describe",
    opens="trtconv.sources.onnx.model:open_model",
    to_onnx="trtconv.sources.onnx.convert:convert",
    takes=frozenset({"operators"}),
    packages=("onnx",),
    is_onnx=True,
)
