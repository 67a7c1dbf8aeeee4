"""Bounds of gates in the units that their measures have."""

from __future__ import annotations

from trtconv.core.units import parse_bytes, parse_seconds

_BYTES = ("engine_size", "peak_memory")
_MILLISECONDS = ("latency_p50", "latency_p99")
_SECONDS = ("build_time",)


def bound(measure: str, value: float | str | None) -> float | None:
    """A bound as a number: bytes, milliseconds, seconds, samples per second or points.

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
    raise ValueError(f"expected a plain number for {measure}, got {value!r}")


def text(measure: str, value: float) -> str:
    """A value with its unit."""
    from trtconv.core.units import format_bytes

    if measure in _BYTES:
        return format_bytes(value)
    unit = {"throughput": "samples/s", "accuracy_drop": "points", **dict.fromkeys(_MILLISECONDS, "ms")}.get(
        measure, "s"
    )
    return f"{value:.4g} {unit}"
