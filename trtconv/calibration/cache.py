"""Calibration caches in TensorRT's text format, and the sidecar with the facts that the format has no room for.

The first line is ``TRT-<version>-<algorithm>``; each further line is ``<tensor>: <hex>``, where the hexadecimal number
holds the bits of a big-endian IEEE-754 single: the scale, which is the largest magnitude kept divided by 127. Names may
hold colons and blanks. Writers differ: some drop leading zeros, TensorRT writes infinity for what overflowed and a bare
``0`` for what was never anything else.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core import files
from trtconv.core.errors import UsageError

LEVELS = 127
"""Positive levels of symmetric INT8: scale = amax / 127."""

TENSORRT = 101600
"""The version we write: TensorRT 10.16.0 as NV_TENSORRT_VERSION counts it. The last major line that reads caches."""

ALGORITHMS = {"minmax": "MinMaxCalibration"}
"""Token per method. All others go as EntropyCalibration2: TensorRT has no calibrator of their kind, and that one's
cache is what TensorRT 7 to 10 and the tools around them read; a scale means the same under every token. The true method
stands in the sidecar."""

DEFAULT_ALGORITHM = "EntropyCalibration2"
SIDECAR_FORMAT = 1
_DIGITS = 8
_HEADER = re.compile(r"TRT-(\d+)-(\w+)")


@dataclass(frozen=True)
class Cache:
    """What a cache file says.

    Attributes:
        amax: largest magnitude kept per tensor, in the file's order; infinite where the calibrator saw an overflow.
        version: digits of the TensorRT version, such as 101600 or 8501.
        algorithm: token of the header, such as ``EntropyCalibration2``.
    """

    amax: Mapping[str, float]
    version: int = TENSORRT
    algorithm: str = DEFAULT_ALGORITHM


@dataclass(frozen=True)
class Facts:
    """What the sidecar ``<cache>.json`` says.

    Attributes:
        model: SHA-256 of the FP32 ONNX file that was calibrated.
        data: digest of the samples' source.
        method: a row of ``calibration.methods.METHODS``.
        samples: how many were run.
        batch: samples per run.
        seed: of their order.
        amax: largest magnitude seen per float tensor, clipped by no method.
    """

    model: str
    data: str
    method: str
    samples: int
    batch: int
    seed: int
    amax: Mapping[str, float] = field(default_factory=dict)


def sidecar(path: Path) -> Path:
    """The file beside a cache that holds its facts."""
    return path.with_name(path.name + ".json")


def dumps(cache: Cache) -> str:
    """The text of a cache file."""
    lines = [f"TRT-{cache.version}-{cache.algorithm}"]
    lines += [f"{name}: {_hex(amax / LEVELS)}" for name, amax in cache.amax.items()]
    return "\n".join(lines) + "\n"


def loads(text: str, source: str) -> Cache:
    """Read the text of a cache.

    Args:
        text: the file's content.
        source: its name, for errors.

    Raises:
        UsageError: not a cache, or a line that is none; the message starts with ``source:line``.
    """
    lines = text.splitlines()
    header = _HEADER.fullmatch(lines[0].strip()) if lines else None
    if header is None:
        found = f"this line is {lines[0][:40]!r}" if lines and lines[0].strip() else "the file is empty"
        raise UsageError(
            f"{source}:1: not a calibration cache: expected TRT-<version>-<algorithm>, {found}",
            hint="give a file written by TensorRT or by trtconv calibrate",
        )
    amax: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            name, scale = _entry(line, f"{source}:{number}", whole=number < len(lines) or text.endswith("\n"))
            amax[name] = scale * LEVELS
    if not amax:
        raise UsageError(
            f"{source}:1: the calibration cache has a header but no tensors",
            hint="calibrate again: trtconv calibrate MODEL --data FILE -o CACHE",
        )
    return Cache(amax, int(header[1]), header[2])


def _entry(line: str, place: str, *, whole: bool) -> tuple[str, float]:
    """Tensor and scale of a line; of one without an end, digits are missing behind, not in front."""
    name, separator, digits = line.rstrip().rpartition(": ")
    try:
        scale = float(struct.unpack(">f", int(digits, 16).to_bytes(4, "big"))[0])
    except (ValueError, OverflowError):
        scale = -1.0
    cut = not whole and scale != 0 and len(digits) < _DIGITS
    if cut or not separator or not scale >= 0:  # negated, so that NaN fails too
        raise UsageError(
            f"{place}: expected <tensor>: <scale as 8 hexadecimal digits>, got {line.strip()[:80]!r}",
            hint="the cache is damaged; calibrate again or fetch it again",
        )
    return name, scale


def _hex(scale: float) -> str:
    try:
        return struct.pack(">f", scale).hex()
    except OverflowError:  # beyond single precision: what TensorRT writes for it
        return struct.pack(">f", float("inf")).hex()


def read(path: Path) -> Cache:
    """Read a cache file.

    Raises:
        UsageError: missing, empty or foreign file, with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows put a mark in front
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such calibration cache", hint="make one: trtconv calibrate MODEL --data FILE -o CACHE"
        ) from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UsageError(
            f"{path}:1: not a calibration cache: it is not text",
            hint="give a file written by TensorRT or by trtconv calibrate",
        ) from None
    return loads(text, str(path))


def read_facts(path: Path) -> Facts | None:
    """The facts beside a cache; None when it has none (TensorRT writes none).

    Raises:
        UsageError: a sidecar that is there but cannot be understood.
    """
    file = sidecar(path)
    if not file.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("format") != SIDECAR_FORMAT:
            raise ValueError("another format number")
        return Facts(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{file}: not the sidecar of a calibration cache ({error})",
            hint="calibrate again, or delete the file to do without its facts",
        ) from None


def write(path: Path, cache: Cache, facts: Facts) -> None:
    """Write a cache and its sidecar, each atomically; the sidecar first, so that no cache goes without."""
    files.write_json(sidecar(path), {"format": SIDECAR_FORMAT, **asdict(facts)})
    files.write_text(path, dumps(cache))
