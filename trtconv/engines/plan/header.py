"""The header of a TensorRT plan, read from its bytes: no TensorRT and no GPU needed.

Layout: NVIDIA's ``trtexec --getPlanVersionOnly`` reads a tag at byte 0 and major, minor, patch and build at bytes 24
to 27. The rest was observed on plans of TensorRT-RTX 1.4 to 1.7: the size of the whole file at byte 16 (64 bits), a
mask of compute capabilities at byte 32, the bytes of weights at 56 (64 bits).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from trtconv.core import magic
from trtconv.core.errors import EnvironmentProblem, SourceError
from trtconv.core.units import format_bytes

SIZE = 64
_TAGS = {b"ftrt": "tensorrt", b"vtrt": "rtx"}
_TARGETS = ((1, "sm75"), (2, "sm80"), (4, "sm86"), (8, "sm89"), (16, "sm120"), (32, "sm121"), (64, "later"))
_SEARCHED = 1 << 20  # how far to look for a plan behind a foreign prefix


@dataclass(frozen=True)
class Header:
    """What a plan says of itself.

    Attributes:
        flavor: ``tensorrt`` or ``rtx``.
        version: of the library that built it; empty when older than the field (TensorRT before 8.6).
        stated_size: bytes the file should have; None where the header does not say (TensorRT).
        size: bytes it has.
        targets: compute capabilities of an RTX plan, ``later`` for any newer one; empty for TensorRT.
        weights: bytes of weights; None where the header does not say.
    """

    flavor: str
    version: str
    stated_size: int | None
    size: int
    targets: tuple[str, ...]
    weights: int | None

    @property
    def truncated(self) -> bool:
        """Whether bytes are missing."""
        return self.stated_size is not None and self.size < self.stated_size


def read(path: Path) -> Header:
    """Read a plan's header.

    Raises:
        SourceError: missing file, or not a plan.
        EnvironmentProblem: the plan is cut short.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file", hint="trtconv build makes engines")
    size = path.stat().st_size
    start = magic.head(path, SIZE)
    if start[:4] not in _TAGS:
        raise _not_a_plan(path)
    if len(start) < SIZE:
        raise EnvironmentProblem(f"{path}: engine is cut short: {size} bytes, not even a header", hint=_AGAIN)
    header = _parse(start, size)
    if header.truncated:
        stated = header.stated_size or 0
        raise EnvironmentProblem(
            f"{path}: engine is cut short: {format_bytes(size)} of {format_bytes(stated)} ({size} of {stated} bytes)",
            hint=_AGAIN,
        )
    return header


_AGAIN = "copy the engine again, or build it again with trtconv build"


def _parse(start: bytes, size: int) -> Header:
    flavor = _TAGS[start[:4]]
    numbers = tuple(start[24:28])
    version = ".".join(map(str, numbers)) if any(numbers) else ""
    if flavor != "rtx":
        return Header(flavor=flavor, version=version, stated_size=None, size=size, targets=(), weights=None)
    (stated,), (mask,), (weights,) = (
        struct.unpack_from(f, start, at) for f, at in (("<Q", 16), ("<I", 32), ("<Q", 56))
    )
    return Header(
        flavor=flavor,
        version=version,
        stated_size=stated,
        size=size,
        targets=tuple(name for bit, name in _TARGETS if mask & bit),
        weights=weights,
    )


def _not_a_plan(path: Path) -> SourceError:
    start = magic.head(path, _SEARCHED)
    found = [(position, name) for tag, name in _TAGS.items() if (position := _plan_at(start, tag)) > 0]
    if not found:
        return SourceError(
            f"{path}: not a TensorRT engine; it looks like {magic.describe(path)}",
            hint="give an .engine file that trtconv build or trtexec made",
        )
    position, _ = min(found)
    what = "JSON metadata" if b"{" in start[: min(position, 16)] else "foreign bytes"
    return SourceError(
        f"{path}: a TensorRT engine begins only at byte {position}, after {what}",
        hint=f"keep the plan alone: tail -c +{position + 1} '{path}' > plan.engine",
    )


def _plan_at(start: bytes, tag: bytes) -> int:
    """Position of a plan: its tag is followed by four zero bytes."""
    return start.find(tag + bytes(4))
