"""From recorded times to numbers, by trtexec's rules (NVIDIA/TensorRT, samples/common/sampleReporting.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Element max(N - 1 - int((1 - p/100) N), 0) of N ascending values: no interpolation.

    The product is computed in float32, as trtexec does; in float64 it would fall on the other side of a whole number
    for some p and N (90 of 100 values).
    """
    single = np.float32
    left_out = int((single(1) - single(percent) / single(100)) * single(len(ascending)))
    return ascending[max(len(ascending) - 1 - left_out, 0)]


def median(ascending: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    middle = len(ascending) // 2
    return ascending[middle] if len(ascending) % 2 else (ascending[middle - 1] + ascending[middle]) / 2


def variation(values: Sequence[float]) -> float:
    """Coefficient of variation in per cent: population standard deviation over mean; 0 for a mean of 0."""
    mean = sum(values) / len(values)
    return 100 * (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5 / mean if mean else 0.0


def summary(values: Sequence[float], percentiles: Sequence[float]) -> dict[str, float]:
    """Mean, min, max, median and percentiles (``p99`` or ``p99.9``)."""
    ascending = sorted(values)
    named = {f"p{percent:g}": percentile(ascending, percent) for percent in percentiles}
    return {
        "mean": sum(ascending) / len(ascending),
        "min": ascending[0],
        "max": ascending[-1],
        "median": median(ascending),
        **named,
    }
