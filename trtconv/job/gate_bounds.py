"""Bounds of gates in the units that their measures have, and as people write them on a command line."""

from __future__ import annotations

import re
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.units import parse_bytes, parse_joules, parse_seconds

_BYTES = ("engine_size", "peak_memory")
_MILLISECONDS = ("latency_p50", "latency_p99")
_SECONDS = ("build_time",)
_JOULES = ("energy",)
_WRITTEN = r"(?P<measure>\w+)(?:\[(?P<engine>[\w.-]+)\])?\s*(?P<sign><=|>=)\s*(?P<value>\S.*)"


def written(text: str) -> dict[str, Any]:
    """``latency_p99[fp16]<=2ms`` as the keys of a gate.

    Raises:
        UsageError: not of that form.
    """
    match = re.fullmatch(_WRITTEN, text.strip())
    if match is None:
        raise UsageError(
            f"--gate {text}: expected MEASURE<=VALUE or MEASURE>=VALUE, or MEASURE[ENGINE]<=VALUE",
            hint="for example --gate 'latency_p99<=2ms' or --gate 'throughput[fp16]>=1000'",
        )
    engine = {"engine": match["engine"]} if match["engine"] else {}
    return {"measure": match["measure"], "max" if match["sign"] == "<=" else "min": _number(match["value"]), **engine}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def bound(measure: str, value: float | str | None) -> float | None:
    """A bound as a number: bytes, milliseconds, seconds, joules, samples per second, points or a share.

    Raises:
        ValueError: text that is not in the measure's unit.
    """
    if value is None or not isinstance(value, str):
        return value
    if measure in _BYTES:
        return float(parse_bytes(value))
    if measure in _MILLISECONDS:
        return parse_seconds(value) * 1e3
    if measure in _SECONDS:
        return parse_seconds(value)
    if measure in _JOULES:
        return parse_joules(value)
    raise ValueError(f"expected a plain number for {measure}, got {value!r}")


def text(measure: str, value: float) -> str:
    """A value with its unit."""
    from trtconv.core.units import format_bytes

    if measure in _BYTES:
        return format_bytes(value)
    if measure == "wider_share":
        return f"{100 * value:.2f} %"
    unit = {
        "throughput": "samples/s",
        "accuracy_drop": "points",
        "energy": "J/sample",
        **dict.fromkeys(_MILLISECONDS, "ms"),
    }.get(measure, "s")
    return f"{value:.4g} {unit}"
