"""What a file seems to be, told from its first bytes: for messages that name more than "cannot read"."""

from __future__ import annotations

from pathlib import Path

from trtconv.core.lazy import resolve

HEAD = 4096
_MODELS = "trtconv.sources:seems"
"""What only the sources know; by name, since they lie above."""
_TEXT = bytes(range(32, 127)) + b"\t\n\r\f"

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (such as Keras .h5 weights)"),
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
    model: str = resolve(_MODELS)(start)
    return model or _text(start) or "unknown binary data"


def _zip(path: Path) -> str:
    import zipfile

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
    return "a text file"


def varint(data: bytes, position: int) -> tuple[int, int]:
    """A base-128 number and the position after it; what is cut off counts as nothing."""
    value = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, position
