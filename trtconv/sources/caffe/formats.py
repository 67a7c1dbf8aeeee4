"""How Caffe networks are recognised, and what else the line asks of them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from trtconv.core import magic, versions
from trtconv.core.errors import SourceError
from trtconv.core.extras import install_line
from trtconv.core.records import SourceSpec
from trtconv.sources.format import Format

_FIRST = re.compile(r"\A\s*(?:#[^\n]*\n\s*)*[a-z_0-9]+\s*[:{<]")
_LAYERS = re.compile(r"""(?:^|[\s{}])(?:layers?\s*:?\s*[{<]|input\s*:\s*["']|input_shape\s*:?\s*[{<])""")
_LAYER, _V1_LAYER, _NAME = 0xA2, 0x12, 0x0A
"""First bytes of NetParameter's fields layer (100), layers (2) and name (1)."""

REFERENCES = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
"""Distributions of OpenCV, which runs Caffe networks."""

_LAST = 4
"""The last major version that does."""


def is_prototxt(start: bytes) -> bool:
    """Whether bytes begin like a network in text form: a key, and a layer or an input among what follows."""
    if b"\0" in start:
        return False
    content = start.decode("utf-8-sig", "replace")
    return bool(_FIRST.match(content) and _LAYERS.search(content))


def is_caffemodel(start: bytes) -> bool:
    """Whether bytes begin like a trained network: its name, or none, and a layer that begins with a name or type."""
    position = 0
    if start[:1] == bytes([_NAME]):
        size, begin = magic.varint(start, 1)
        position = begin + size
        name = start[begin:position]
        if len(name) < size or not name.decode("utf-8", "replace").isprintable():
            return False
    tag, _ = magic.varint(start, position)
    if tag >> 3 not in (2, 100) or tag & 7 != 2:
        return False
    _, begin = magic.varint(start, position + (1 if tag >> 3 == 2 else 2))
    first = start[begin : begin + 1]
    return first == b"\x0a" if tag >> 3 == 100 else position > 0 and first in (b"\x0a", b"\x12", b"\x1a", b"\x22")


def companion(path: Path, ending: str) -> Path | None:
    """The file with an ending that seems to belong to one: of the same name, of a beginning of it, or the only one."""
    found = sorted(path.parent.glob(f"*{ending}"))
    alike = [one for one in found if path.stem.startswith(one.stem) or one.stem.startswith(path.stem)]
    if len(found) > 1:
        found = [one for one in found if one.stem == path.stem] or alike
    return found[0] if len(found) == 1 else None


def _recognises(path: Path, start: bytes) -> bool:
    if not start or not is_caffemodel(start):
        return bool(start) and is_prototxt(start)
    network = companion(path, ".prototxt") or path.with_name("deploy.prototxt")
    raise SourceError(
        f"{path}: the weights of a Caffe network; the network itself is in a prototxt",
        hint=f"trtconv convert {network} --weights {path}; in a job, source: {{path: {network.name}, weights: "
        f"{path.name}}}",
    )


def _looks(start: bytes) -> str:
    if is_caffemodel(start):
        return "the weights of a Caffe network (.caffemodel)"
    return "a Caffe network (.prototxt)" if is_prototxt(start) else ""


def without_opencv(spec: SourceSpec) -> str:
    """Why OpenCV cannot be the reference, where a source names no interpreter that has it; empty where it can."""
    if spec.python is not None:
        return ""
    if importlib.util.find_spec("cv2") is None:
        return f"OpenCV, which runs Caffe networks, is not installed ({install_line('caffe')})"
    installed = next(iter(versions.of(REFERENCES).values()), "")
    if installed and int(installed.split(".")[0]) > _LAST:
        return f"OpenCV {installed} no longer reads Caffe networks, versions below 5 do ({install_line('caffe')})"
    return ""


CAFFE = Format(
    name="caffe",
    title="a Caffe prototxt",
    plural="Caffe networks",
    recognises=_recognises,
    looks=_looks,
    describe="trtconv.sources.caffe.describe:describe",
    opens="trtconv.sources.caffe.reference:open_model",
    to_onnx="trtconv.sources.caffe.convert:convert",
    takes=frozenset({"weights", "python"}),
    without_reference=without_opencv,
    needs="trtconv.sources.caffe.opencv:NEEDS",
    finds_weights=lambda path: companion(path, ".caffemodel"),
    packages=("onnx", *REFERENCES),
)
