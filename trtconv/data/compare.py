"""How far one model's outputs are from another's, over many batches without holding them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.records import Comparison


@dataclass
class OutputMeter:
    """Sums for one output; feed it batches, then ask for the comparison. All sums are float64.

    ``max_rel`` is the largest absolute difference over the largest reference magnitude: a per-element relative error
    says nothing where the reference is near zero. SNR is 10 log10(sum ref^2 / sum (candidate - ref)^2). The same
    infinity in both is agreement; every other value that is not finite is not.
    """

    output: str
    max_abs: float = 0.0
    error: float = 0.0
    signal: float = 0.0
    candidate: float = 0.0
    product: float = 0.0
    finite: bool = True
    total: int = 0
    undefined: int = 0
    infinite: int = 0
    other: int = 0
    whole: bool = False
    wanted: _Span = field(default_factory=lambda: _Span())
    got: _Span = field(default_factory=lambda: _Span())

    def add(self, reference: NDArray[np.generic], candidate: NDArray[np.generic]) -> None:
        """Add one batch; both arrays have the same shape.

        Raises:
            ConversionError: they hold no numbers.
        """
        if not {reference.dtype.kind, candidate.dtype.kind}.isdisjoint("OUS"):
            raise ConversionError(
                f"output {self.output!r} holds texts, which are not compared; TensorRT has none",
                hint="leave it out: --output-name, or convert: {outputs: [...]} in a job",
            )
        self.whole = reference.dtype.kind in "iub"
        wanted = np.asarray(reference, dtype=np.float64).ravel()
        got = np.asarray(candidate, dtype=np.float64).ravel()
        usable = np.isfinite(wanted) & np.isfinite(got)
        self.finite &= not np.any(np.isfinite(wanted) & ~np.isfinite(got))
        self.total += wanted.size
        self.undefined += int(np.isnan(wanted).sum())
        self.infinite += int(np.isinf(wanted).sum())
        self.other += int((np.isinf(wanted) & (wanted != got)).sum())
        wanted, got = wanted[usable], got[usable]
        if not wanted.size:
            return
        self.wanted.add(wanted)
        self.got.add(got)
        difference = got - wanted
        self.max_abs = max(self.max_abs, float(np.abs(difference).max()))
        self.error += float(difference @ difference)
        self.signal += float(wanted @ wanted)
        self.candidate += float(got @ got)
        self.product += float(wanted @ got)

    def comparison(self) -> Comparison:
        """The figures so far."""
        norms = float(np.sqrt(self.signal * self.candidate))
        peak = max(abs(self.wanted.low), abs(self.wanted.high)) if self.wanted.count else 0.0
        return Comparison(
            self.output,
            max_abs=self.max_abs,
            max_rel=self.max_abs / peak if peak else self.max_abs,
            cosine=self.product / norms if norms else float(self.signal == self.candidate),
            snr_db=_decibels(self.signal, self.error),
            finite=self.finite,
            trouble=self._trouble(),
            note=self._one_value() if self.max_abs == 0 and peak else "",
        )

    def _trouble(self) -> str:
        if not self.total:
            return "the reference is empty: there is nothing to compare"
        if self.undefined:
            return f"the reference holds NaN in {self.undefined} of {self.total} values"
        if self.infinite == self.total:
            return "the reference holds infinity only: there is nothing to compare"
        if self.other:
            return f"it holds something else in {self.other} of {self.infinite} places where the reference is infinite"
        if self.got.constant and not self.wanted.constant:
            return f"it is {self.got.low:g} everywhere, and the reference is not"
        if self.max_abs or not self.wanted.high:  # the same number to the bit is some agreement, zero is none
            return self._one_value()
        return ""

    def _one_value(self) -> str:
        constant = self.wanted.constant and not self.whole
        return f"the reference is {self.wanted.low:g} everywhere: such samples tell little" if constant else ""


@dataclass
class _Span:
    """The smallest and the largest of some values, and how many there were."""

    count: int = 0
    low: float = float("inf")
    high: float = float("-inf")

    def add(self, values: NDArray[np.float64]) -> None:
        self.count += values.size
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    @property
    def constant(self) -> bool:
        """Whether several values are one."""
        return self.count > 1 and self.low == self.high


def _decibels(signal: float, error: float) -> float:
    if error == 0:
        return float("inf")
    return float(10 * np.log10(signal / error)) if signal else float("-inf")


def classes(output: NDArray[np.generic], samples: int) -> NDArray[np.int64] | None:
    """The largest entry per sample of an output of shape [samples, classes]; None for any other shape."""
    if output.ndim < 2 or len(output) != samples or output.dtype.kind in "OUS":
        return None
    flat = output.reshape(samples, -1)
    if flat.shape[1] != output.shape[-1] or output.shape[-1] < 2:
        return None
    best: NDArray[np.int64] = np.argmax(flat, axis=1).astype(np.int64)
    return best


def require_classes(labels: NDArray[np.int64], count: int) -> None:
    """Labels must be numbers of classes, 0 to ``count`` - 1.

    Raises:
        UsageError: naming one that is not.
    """
    strange = labels[(labels < 0) | (labels >= count)]
    if strange.size:
        raise UsageError(
            f"label {strange[0]} is no class: the model has {count}, numbered from 0 to {count - 1}",
            hint="number the labels from 0 on, in the order of the model's classes",
        )
