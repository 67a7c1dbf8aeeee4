"""Weights from a file: .wts, .npz, .safetensors, or a PyTorch state_dict."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import magic
from trtconv.core.errors import EnvironmentProblem, SourceError
from trtconv.core.extras import install_line

SUFFIXES = (".wts", ".npz", ".safetensors", ".pth", ".pt", ".bin")
_HALF_TYPE = "1"
_SAFE: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class Parameter(np.ndarray):
    """An array that answers what scripts ask of PyTorch's tensors on the way to NumPy."""

    def numpy(self) -> np.ndarray:
        """The array."""
        return self.view(np.ndarray)

    def detach(self) -> Parameter:
        """Itself."""
        return self

    cpu = float = contiguous = detach


def load(path: Any) -> dict[str, Any]:
    """Weights by name.

    Raises:
        SourceError: missing, truncated or foreign.
        EnvironmentProblem: a PyTorch file, and no PyTorch.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path}: no such file", hint="check source.weights")
    start = magic.head(path)
    if not start:
        raise SourceError(f"{path}: an empty file", hint="fetch it again")
    if _is_wts(start):
        return _parameters(dict(_wts(path)))
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < path.stat().st_size:
        return _parameters(_safetensors(path))
    if magic.describe(path) == "a NumPy .npz archive":
        with np.load(path) as stored:
            return _parameters({name: stored[name] for name in stored.files})
    if path.suffix in (".pth", ".pt", ".bin") or "PyTorch" in magic.describe(path):
        return _state_dict(path)
    raise SourceError(
        f"{path}: no weights that are known; it looks like {magic.describe(path)}",
        hint="give a .wts, .npz, .safetensors or .pth file",
    )


def of_torch(path: Path) -> bool:
    """Whether PyTorch is needed to read a file."""
    if not path.is_file() or _is_wts(magic.head(path)):
        return False
    return path.suffix in (".pth", ".pt", ".bin") or "PyTorch" in magic.describe(path)


def _parameters(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: array.view(Parameter) for name, array in arrays.items()}


def _is_wts(start: bytes) -> bool:
    """The text format of tensorrtx and of NVIDIA's samples begins with a count on a line of its own."""
    return start.partition(b"\n")[0].strip().isdigit()


def _wts(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """One tensor a line: name, (in NVIDIA's samples a type,) count, and big-endian numbers in hexadecimal."""
    with path.open("rb") as lines:
        count = int(lines.readline())
        for number in range(count):
            words = lines.readline().split()
            if len(words) < 2:
                raise SourceError(f"{path}: ends after {number} of {count} tensors", hint="fetch or write it again")
            yield words[0].decode(), _tensor(path, words)


def _tensor(path: Path, words: list[bytes]) -> np.ndarray:
    name = words[0].decode()
    typed = len(words) > 2 and words[2] == b"%d" % (len(words) - 3) and words[1] != b"%d" % (len(words) - 2)
    count, values = (words[2], words[3:]) if typed else (words[1], words[2:])
    size = int(count) if count.isdigit() else -1
    if len(values) != size:
        raise SourceError(
            f"{path}: tensor {name!r} has {len(values)} of {size} numbers", hint="fetch or write it again"
        )
    try:
        numbers = np.fromiter((int(value, 16) for value in values), np.uint32, size)
    except ValueError as error:
        raise SourceError(f"{path}: tensor {name!r}: {error}", hint="numbers are hexadecimal") from None
    if typed and words[1].decode() == _HALF_TYPE:
        return numbers.astype(np.uint16).view(np.float16).astype(np.float32)
    return numbers.view(np.float32)


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """The format is a length, a JSON header with the place of every tensor, and their bytes."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    try:
        header = json.loads(content[8 : 8 + size])
    except ValueError:
        raise SourceError(f"{path}: begins like a .safetensors file but is damaged", hint="fetch it again") from None
    header.pop("__metadata__", None)
    return {name: _placed(path, name, entry, content, 8 + size) for name, entry in header.items()}


def _placed(path: Path, name: str, entry: dict[str, Any], content: bytes, base: int) -> np.ndarray:
    begin, end = (base + offset for offset in entry["data_offsets"])
    if end > len(content):
        raise SourceError(f"{path}: truncated: tensor {name!r} ends behind the file", hint="fetch it again")
    if entry["dtype"] == "BF16":
        bits = np.frombuffer(content[begin:end], np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(entry["shape"])
    if entry["dtype"] not in _SAFE:
        raise SourceError(f"{path}: tensor {name!r} has type {entry['dtype']}", hint="save it as F32")
    return np.frombuffer(bytearray(content[begin:end]), _SAFE[entry["dtype"]]).reshape(entry["shape"])


def _state_dict(path: Path) -> dict[str, Any]:
    """A state_dict, read with ``weights_only``: a pickle that holds anything else is refused."""
    try:
        import torch
    except ImportError:
        raise EnvironmentProblem(
            f"{path}: a state_dict of PyTorch, which is not installed",
            hint=f"{install_line('torch')}, or name an interpreter that has it: source.python (--python)",
        ) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - PyTorch raises a dozen kinds for damaged and foreign files
        what = " ".join(str(error).split())[:200]
        raise SourceError(
            f"{path}: not a state_dict that can be read without running code: {what}",
            hint="save one: torch.save(model.state_dict(), path)",
        ) from None
    for key in ("state_dict", "model", "module"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    return dict(found)
