"""Histograms of magnitudes that grow with the data: one pass, fixed memory, the same counts for every batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BINS = 4096
"""Bins of a histogram; at least half of them are in use, since the bin width is the smallest power of two that fits."""

_BLOCK = 1 << 16  # values per step: the scratch arrays stay in the processor's second-level cache


@dataclass
class Histogram:
    """Counts of |x| in bins of equal width, from 0 to beyond the largest magnitude seen.

    The width is a power of two, so a bin's bounds are exact and two neighbours merge into one when a larger value
    comes. Hence the counts depend on the values alone, not on their order or on how they were cut into batches.

    Attributes:
        amax: largest magnitude so far.
        width: of one bin; 0 until a value other than zero has been seen.
        counts: int64 [BINS].
        zeros: how many values were exactly zero; they are in no bin.
    """

    amax: float = 0.0
    width: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    zeros: int = 0

    def add(self, values: NDArray[np.float32], amax: float) -> None:
        """Count values.

        Args:
            values: float32, any shape, contiguous, finite.
            amax: their largest magnitude.
        """
        if amax == 0.0:
            self.zeros += values.size
            return
        self._grow(amax)
        flat = values.reshape(-1)
        scale = np.float32(1.0 / self.width)
        scaled, indices = np.empty(_BLOCK, np.float32), np.empty(_BLOCK, np.intp)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            part, index = scaled[: block.size], indices[: block.size]
            np.abs(block, out=part)
            zeros = block.size - int(np.count_nonzero(part.view(np.int32)))  # the same, and quicker than of floats
            np.multiply(part, scale, out=part)
            np.copyto(index, part, casting="unsafe")  # rounds down: magnitudes are not negative
            self.counts += np.bincount(index, minlength=BINS)
            self.counts[0] -= zeros
            self.zeros += zeros

    @property
    def total(self) -> int:
        """How many values were counted, zeros included."""
        return int(self.counts.sum()) + self.zeros

    @property
    def used(self) -> NDArray[np.int64]:
        """The counts up to the bin of the largest magnitude."""
        return self.counts[: int(self.amax / self.width) + 1] if self.width else self.counts[:0]

    def _grow(self, amax: float) -> None:
        """Make the bins wide enough for ``amax``."""
        needed = math.ldexp(1.0, max(math.frexp(amax)[1], -100) - BINS.bit_length() + 1)
        if not self.width:
            self.width = needed
        while self.width < needed:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
            self.width *= 2
        self.amax = max(self.amax, amax)
