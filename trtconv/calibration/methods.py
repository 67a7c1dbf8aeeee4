"""From a histogram of magnitudes to the largest magnitude kept: one function per method, one row each in METHODS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trtconv.calibration.histogram import Histogram

LEVELS = 127
"""Positive levels of symmetric INT8."""

PERCENTILE = 99.999
"""Per cent of all values, zeros included, that ``percentile`` keeps."""

_MSE_STEPS = 128  # thresholds tried, evenly spaced up to the largest magnitude
_ENTROPY_LEVELS = 128  # 127 positive levels and zero
_ENTROPY_STEPS = 256  # thresholds tried at most
_VALUES_PER_BIN = 64


def minmax(histogram: Histogram) -> float:
    """The largest magnitude seen: nothing is clipped."""
    return histogram.amax


def percentile(histogram: Histogram) -> float:
    """The magnitude below which PERCENTILE per cent of all values lie, linear within a bin."""
    keep = histogram.total * PERCENTILE / 100 - histogram.zeros
    below = np.cumsum(histogram.used)
    if not below.size or keep <= 0:
        return histogram.amax
    position = int(np.searchsorted(below, keep))
    inside = (keep - (below[position] - histogram.used[position])) / max(histogram.used[position], 1)
    return min((position + float(inside)) * histogram.width, histogram.amax)


def mse(histogram: Histogram) -> float:
    """The threshold with the least mean squared error of rounding to LEVELS steps and clipping beyond.

    Values stand for the centre of their bin; exact zeros cost nothing at any threshold.
    """
    counts, centres = _points(histogram)
    if not counts.size:
        return histogram.amax
    best, least = histogram.amax, np.inf
    for threshold in histogram.amax * np.arange(1, _MSE_STEPS + 1) / _MSE_STEPS:
        step = threshold / LEVELS
        kept = np.minimum(np.rint(centres / step), LEVELS) * step
        error = float(counts @ np.square(centres - kept))
        if error <= least:
            best, least = float(threshold), error
    return best


def entropy(histogram: Histogram) -> float:
    """The threshold whose quantized distribution loses the least information: TensorRT's entropy calibration.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017 (session S7310), slides 31 to 38. For every threshold
    after i bins, P is the histogram cut there with everything beyond added to its last bin; Q is the uncut bins merged
    into 128 levels, each level's count spread evenly over those of its bins that are not empty; the threshold with the
    least Kullback-Leibler divergence of Q from P wins.

    Two precautions keep it from clipping too much. Exact zeros, of which ReLU and padding make any number, are left out
    of P and Q: they round to zero at every threshold, and a peak of them would drown what is clipped. And bins are
    merged until they hold enough values for their counts to mean something: on a ragged histogram the finest
    thresholds always look best, since they smooth nothing. Too few values for that are not clipped at all.
    """
    counts, width = _smoothed(histogram)
    count = counts.size
    if count <= _ENTROPY_LEVELS or counts.sum() < _VALUES_PER_BIN * count:
        return histogram.amax
    tried = np.unique(np.linspace(_ENTROPY_LEVELS, count, min(_ENTROPY_STEPS, count - _ENTROPY_LEVELS + 1)).astype(int))
    divergences = _divergences(counts, tried)
    best = int(tried[len(tried) - 1 - int(np.argmin(divergences[::-1]))])  # the widest among equals
    return histogram.amax if best == count else min((best + 0.5) * width, histogram.amax)


def _points(histogram: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts and centres of the bins that are not empty."""
    filled = np.flatnonzero(histogram.used)
    return histogram.used[filled].astype(np.float64), np.minimum((filled + 0.5) * histogram.width, histogram.amax)


def _smoothed(histogram: Histogram) -> tuple[NDArray[np.float64], float]:
    """Counts and bin width after merging neighbours until there are _VALUES_PER_BIN values per bin on average."""
    counts, width = histogram.used.astype(np.float64), histogram.width
    while counts.size > 2 * _ENTROPY_LEVELS and counts.sum() < _VALUES_PER_BIN * counts.size:
        counts = np.pad(counts, (0, counts.size % 2)).reshape(-1, 2).sum(axis=1)
        width *= 2
    return counts, width


def _divergences(counts: NDArray[np.float64], cuts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of 128 levels up to each cut from the histogram clipped there; float64 [cuts].

    With counts c, their total n, those inside a cut i, and the mean m of the bins of a level that are not empty, bins
    but the last one add c/n log((c/n) / (m/i)); sums over the bins of a level are differences of running sums.
    """
    bounds = np.arange(_ENTROPY_LEVELS + 1) * cuts[:, np.newaxis] // _ENTROPY_LEVELS
    held, filled, own = (
        np.concatenate([[0.0], np.cumsum(values)])
        for values in (counts, counts > 0, counts * np.log(np.maximum(counts, 1)))
    )
    sums = np.diff(held[bounds], axis=1)
    means = sums / np.maximum(np.diff(filled[bounds], axis=1), 1)
    logs = np.log(np.where(means > 0, means, 1))
    total, inside, last = held[-1], held[cuts], counts[cuts - 1]
    clipped = total - inside
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.log(inside / total)
        kept = (own[cuts] - (sums * logs).sum(axis=1)) / total + inside / total * scale
        peak = (last + clipped) * np.log(last + clipped) - np.where(last > 0, last * np.log(last), 0)
        beyond = (peak - clipped * logs[:, -1] + clipped * scale) / total
    lost = (inside == 0) | ((last == 0) & (clipped > 0))  # Q has nothing where P has what was clipped
    found: NDArray[np.float64] = np.where(lost, np.inf, kept + np.where(clipped > 0, beyond, 0))
    return found


METHODS: dict[str, Callable[[Histogram], float]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}
"""Every method takes the same histogram, so one pass over the data serves all of them."""
