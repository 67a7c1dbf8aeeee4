"""What a file seems to be, told from its first bytes: for messages that name more than "cannot read"."""

from __future__ import annotations

import zipfile
from pathlib import Path

HEAD = 4096
_TEXT = bytes(range(32, 127)) + b"\t\n\r\f"

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (such as Keras .h5 weights)"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"\x93NUMPY", "a NumPy .npy array"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"ftrt", "a TensorRT engine"),
    (0, b"\x7fELF", "an ELF program or library"),
    (0, b"version https://git-lfs.github.com/", "a Git LFS pointer (run git lfs pull to get the file itself)"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"\x80\x02", "a Python pickle (such as an old PyTorch checkpoint)"),
    (0, b"\x80\x03", "a Python pickle"),
    (0, b"\x80\x04", "a Python pickle"),
    (0, b"\x80\x05", "a Python pickle"),
)


def head(path: Path, count: int = HEAD) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as handle:
        return handle.read(count)


def describe(path: Path) -> str:
    """A phrase such as ``a PNG image`` or ``an empty file``; ``unknown binary data`` when nothing fits."""
    if path.is_dir():
        return "a folder"
    start = head(path)
    if not start:
        return "an empty file"
    for offset, signature, phrase in _SIGNATURES:
        if start[offset:].startswith(signature):
            return phrase
    if start.startswith(b"PK\x03\x04"):
        return _zip(path)
    return _text(start) or _protobuf(start) or "unknown binary data"


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a truncated zip archive"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint"
    if {"config.json", "metadata.json"} <= set(names):
        return "a Keras model"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy .npz archive"
    return "a zip archive"


def _text(start: bytes) -> str:
    if start.translate(None, _TEXT):
        return ""
    lower = start.lstrip().lower()
    if lower.startswith((b"<!doctype html", b"<html")):
        return "an HTML page (a download that went wrong?)"
    if lower.startswith(b"<?xml"):
        return "an XML document"
    if lower.startswith(b"trt-") and b"calibration" in lower.partition(b"\n")[0]:
        return "a TensorRT calibration cache"
    if lower.startswith((b"{", b"[")):
        return "a JSON document"
    if is_graph_text(start):
        return "a GraphDef in text form"
    return "a text file"


def _protobuf(start: bytes) -> str:
    if is_graph_def(start):
        return "a TensorFlow GraphDef"
    if is_saved_model(start):
        return "a SavedModel's protocol buffer"
    if is_onnx(start):
        return "an ONNX model"
    return ""


def is_graph_def(start: bytes) -> bool:
    """Whether bytes begin like a GraphDef: a NodeDef (field 1) that begins with its name (1) and op (2)."""
    size, after = _varint(start, 1) if start[:1] == b"\x0a" else (0, 0)
    if size < 4 or start[after : after + 1] != b"\x0a":
        return False
    length, begin = _varint(start, after + 1)
    end = begin + length
    if start[end : end + 1] != b"\x12" or end > after + size:
        return False
    length, begin = _varint(start, end + 1)
    op = start[begin : begin + length]
    return op.isascii() and op.replace(b"_", b"a").replace(b">", b"a").isalnum()


def is_graph_text(start: bytes) -> bool:
    """Whether bytes begin like a GraphDef in text form."""
    return start.lstrip().startswith((b"node {", b"node{", b"versions {"))


def is_saved_model(start: bytes) -> bool:
    """Whether bytes begin like a SavedModel: schema version 1 (field 1), then a MetaGraphDef (2) with its infos (1)."""
    if start[:3] != b"\x08\x01\x12":
        return False
    _, after = _varint(start, 3)
    return start[after : after + 1] == b"\x0a"


def is_onnx(start: bytes) -> bool:
    """Whether bytes begin like an ONNX ModelProto: an IR version (field 1), then another field that it can have."""
    if start[:1] != b"\x08" or is_saved_model(start):
        return False
    version, after = _varint(start, 1)
    return 0 < version < 1000 and start[after : after + 1] in (
        b"\x12",
        b"\x1a",
        b"\x22",
        b"\x28",
        b"\x32",
        b"\x3a",
        b"\x42",
    )


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A base-128 number and the position after it."""
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, position
