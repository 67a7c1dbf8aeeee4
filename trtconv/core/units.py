"""Sizes and times as people write them."""

from __future__ import annotations

import re

_BINARY = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "m": 1 << 20,
    "mib": 1 << 20,
    "g": 1 << 30,
    "gib": 1 << 30,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
_JOULES = {"": 1.0, "j": 1.0, "mj": 1e-3, "uj": 1e-6}
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(text: str | int) -> int:
    """Bytes from ``"1GiB"``, ``"512 MiB"``, ``"64k"`` or a plain number. ``GB`` is 10^9, ``GiB`` and ``G`` 2^30.

    Raises:
        ValueError: not a size.
    """
    return int(_parse(text, _BINARY, "a size such as 512MiB or 1GiB"))


def parse_seconds(text: str | float) -> float:
    """Seconds from ``"200ms"``, ``"3s"``, ``"1min"`` or a plain number of seconds.

    Raises:
        ValueError: not a duration.
    """
    return _parse(text, _SECONDS, "a duration such as 200ms or 3s")


def parse_joules(text: str | float) -> float:
    """Joules from ``"0.5J"``, ``"20mJ"`` or a plain number of joules.

    Raises:
        ValueError: not an energy.
    """
    return _parse(text, _JOULES, "an energy such as 20mJ or 0.5J")


def parse_budget(text: str | int) -> str:
    """A share of a memory as people write it: ``"512MiB"`` (in bytes then), ``"50%"``, ``"all"`` or ``"auto"``.

    Raises:
        ValueError: none of these.
    """
    word = str(text).strip().lower()
    share = _SHARE.fullmatch(word)
    if share is not None and float(share[1]) <= 100:
        return f"{float(share[1]):g}%"
    if word in ("all", "auto"):
        return word
    return str(int(_parse(text, _BINARY, "a budget such as 512MiB, 50%, all or auto")))


def format_bytes(count: float) -> str:
    """``"12.3 MiB"``: three digits or so, binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def format_seconds(seconds: float) -> str:
    """``"850 ms"``, ``"3.2 s"`` or ``"2 min 5 s"``."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _parse(text: str | float, units: dict[str, float] | dict[str, int], expected: str) -> float:
    match = _NUMBER.fullmatch(str(text))
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"expected {expected}, got {text!r}")
    return float(match[1]) * factor
