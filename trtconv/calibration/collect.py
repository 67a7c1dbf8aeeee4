"""Run a model over samples and keep the range, and where a method needs it the histogram, of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trtconv.calibration.histogram import Histogram
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Progress

MEMORY = 384 * 2**20
"""Bytes of fetched tensors held at a time."""

Arrays = Mapping[str, NDArray[np.generic]]


class Samples(Protocol):
    """What ``data.feeds.Feed`` gives."""

    def __len__(self) -> int: ...

    def batches(self, size: int, seed: int | None = None) -> Iterator[dict[str, NDArray[np.generic]]]:
        """Inputs by name, batch by batch."""


@dataclass(frozen=True)
class Observer:
    """A model with further outputs, ready to run.

    Attributes:
        run: outputs by name for a batch.
        extremes: per watched tensor the outputs with its largest value, its smallest, and its sum (NaN shows there).
    """

    run: Callable[[Arrays], Arrays]
    extremes: Mapping[str, tuple[str, str, str]]


@dataclass
class Measured:
    """What the samples showed.

    Attributes:
        amax: largest magnitude per tensor.
        histograms: per tensor asked for.
        samples: how many were run.
    """

    amax: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    samples: int = 0


def collect(
    samples: Samples,
    observe: Callable[[Sequence[str], Sequence[str]], Observer],
    tensors: Sequence[str],
    inputs: Sequence[str],
    histograms: Sequence[str],
    *,
    batch: int,
    seed: int,
    emit: Emit,
    memory: int = MEMORY,
) -> Measured:
    """Measure tensors over all samples, in one pass when their histograms' tensors fit into memory together.

    The outcome does not depend on the batch size beyond what the runtime's arithmetic does.

    Args:
        samples: the data.
        observe: makes an observer from tensors to fetch whole and tensors to watch.
        tensors: what to measure.
        inputs: which of them are inputs of the model.
        histograms: which of them need a histogram.
        batch: samples per run at most; fewer when the fetched tensors would exceed ``memory``.
        seed: order of the samples.
        emit: gets progress.
        memory: bytes for fetched tensors.

    Raises:
        UsageError: NaN or infinity in a tensor; the message names it and the samples.
    """
    fetch = [name for name in histograms if name not in inputs]
    watch = [name for name in tensors if name not in inputs and name not in set(fetch)]
    measured = Measured(histograms={name: Histogram() for name in histograms})
    sizes = _bytes_per_sample(samples, observe, fetch, seed)
    chunks = _chunks(sizes, memory)
    for number, chunk in enumerate(chunks):
        room = memory // max(sum(sizes[name] for name in chunk), 1)
        first = number == 0
        observer = observe(chunk, watch if first else ())
        work = _Pass(measured, observer, [name for name in tensors if name in chunk or (first and name not in fetch)])
        label = "calibrating" if len(chunks) == 1 else f"calibrating, pass {number + 1} of {len(chunks)}"
        done = 0
        for feeds in samples.batches(max(min(batch, room), 1), seed):
            count = len(next(iter(feeds.values())))
            work.add(feeds, f"samples {done} to {done + count - 1}")
            done += count
            emit(Progress(label, done, len(samples), "samples"))
        measured.samples = done
    return measured


def _bytes_per_sample(samples: Samples, observe: Callable[..., Observer], fetch: Sequence[str],
                      seed: int) -> dict[str, int]:  # fmt: skip
    """Size of each fetched tensor for one sample, from a run of one sample."""
    if not fetch:
        return {}
    feeds = next(samples.batches(1, seed))
    count = len(next(iter(feeds.values())))
    outputs = observe(fetch, ()).run(feeds)
    return {name: -(-outputs[name].nbytes // count) for name in fetch}


def _chunks(sizes: Mapping[str, int], memory: int) -> list[list[str]]:
    """Tensors in groups of at most ``memory`` bytes per sample, a tensor alone where it is larger; never no group."""
    chunks: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if chunks[-1] and used + size > memory:
            chunks.append([])
            used = 0
        chunks[-1].append(name)
        used += size
    return chunks


class _Pass:
    """One pass over the samples with one observer."""

    def __init__(self, measured: Measured, observer: Observer, tensors: Sequence[str]) -> None:
        self._measured = measured
        self._observer = observer
        self._tensors = tensors

    def add(self, feeds: Arrays, which: str) -> None:
        """Measure one batch, in the order of the graph: the first tensor to break is the one to name."""
        outputs = self._observer.run(feeds)
        for name in self._tensors:
            if name in self._observer.extremes:
                high, low, total = (outputs[output] for output in self._observer.extremes[name])
                self._note(name, float(high), float(low), bool(np.isnan(total)), which)
            else:
                self._array(name, feeds[name] if name in feeds else outputs[name], which)

    def _array(self, name: str, values: NDArray[np.generic], which: str) -> None:
        numbers = np.ascontiguousarray(values, np.float32)
        if not numbers.size:
            return
        largest, smallest = float(numbers.max()), float(numbers.min())
        self._note(name, largest, smallest, False, which)
        if name in self._measured.histograms:
            self._measured.histograms[name].add(numbers, max(largest, -smallest))

    def _note(self, name: str, largest: float, smallest: float, broken: bool, which: str) -> None:
        if broken or np.isnan(largest) or np.isnan(smallest):
            raise _unusable(name, "NaN", which)
        if np.isinf(largest) or np.isinf(smallest):
            raise _unusable(name, "infinity", which)
        self._measured.amax[name] = max(self._measured.amax.get(name, 0.0), largest, -smallest)


def _unusable(name: str, what: str, which: str) -> UsageError:
    return UsageError(f"tensor {name!r} holds {what} for {which}: its range cannot be calibrated",
                      hint="take those samples out, or repair the model if its FP32 results are wrong too")  # fmt: skip
