"""Run a model over samples and keep the range, and where a method needs it the histogram, of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trtconv.calibration.histogram import Histogram
from trtconv.core import memory
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Progress

MEMORY = 96 * 2**20
"""Bytes of one batch's fetched tensors, of which two are held; samples run in smaller batches where it is more."""

VALUES = 2**21
"""Values per tensor from which a histogram is an even selection, see ``_stride``."""

PER_SAMPLE = 2**12
"""Values of one sample's tensor that enter its histogram at least."""

SURVEY = 32
"""Samples of which every value is seen, whatever is enough of the others."""

_MORE = 2  # batches where less is handed out: the fewer, the less each operator's start counts

_BLOCK = 1 << 17  # values whose largest and smallest are looked for while they are in the second-level cache

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Summary:
    """What stands for a tensor that is not handed out.

    Attributes:
        peaks: its extreme values or some more of them, as far as they are to be known; float32, any shape.
        sample: an even selection of its values, the same of every sample; None where no histogram is wanted.
    """

    peaks: NDArray[np.generic]
    sample: NDArray[np.generic] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.peaks.nbytes + (0 if self.sample is None else self.sample.nbytes)


Tensors = Mapping[str, NDArray[np.generic] | Summary]
Run = Callable[[Arrays], Tensors]
Observe = Callable[[Sequence[str], bool], Run]
"""Makes, from tensors to have, a function that gives them or their summaries for a batch. It may overwrite, at the call
after the next, what it gave. The flag says whether every value must count; otherwise, of the tensors of which a
selection is enough, a selection will do."""


class Samples(Protocol):
    """What ``data.feeds.Feed`` gives."""

    @property
    def whole(self) -> Mapping[str, Any]:
        """Inputs that hold no samples: the same in every batch, where they come after the others."""

    @property
    def axes(self) -> Mapping[str, int | None]:
        """The axis of each other input that counts samples; None where a sample is the whole input."""

    def __len__(self) -> int: ...

    def batches(self, size: int, seed: int | None = None) -> Iterator[dict[str, NDArray[np.generic]]]:
        """Inputs by name, batch by batch."""


@dataclass
class Measured:
    """What the samples showed.

    Attributes:
        amax: largest magnitude per tensor.
        histograms: per tensor asked for.
        samples: how many were run.
        unbounded: what was left out of a tensor's largest magnitude, ``NaN`` or ``infinity``, if anything was.
    """

    amax: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    samples: int = 0
    unbounded: dict[str, str] = field(default_factory=dict)


def collect(
    samples: Samples,
    observe: Observe,
    tensors: Sequence[str],
    inputs: Sequence[str],
    histograms: Sequence[str],
    *,
    surveyed: Collection[str] = (),
    selected: Set[str] = frozenset(),
    lenient: Mapping[str, Set[str]] = MappingProxyType({}),
    batch: int,
    seed: int,
    emit: Emit,
    space: int = MEMORY,
    light: bool = False,
) -> Measured:
    """Measure tensors over all samples, in one pass unless one sample's tensors exceed ``space`` fourfold.

    The outcome does not depend on the batch size beyond what the runtime's arithmetic does, and where the first SURVEY
    samples end. Largest magnitudes are those of every value unless a tensor is surveyed or selected. Histograms count
    every value too, up to VALUES of a tensor; beyond that an even selection.

    Args:
        samples: the data.
        observe: the model.
        tensors: what to measure, in the order in which to look for values that are unusable.
        inputs: which of them are inputs of the model.
        histograms: which of them need a histogram.
        surveyed: of which of them SURVEY samples tell enough: handing tensors out is what measuring them costs.
        selected: of which of them, after SURVEY samples, the values that histograms count tell enough.
        lenient: of which of them ``NaN``, ``infinity`` or both are left out; in the others they are an error.
        batch: samples per run at most; fewer when the fetched tensors would exceed ``space``.
        seed: order of the samples.
        emit: gets progress.
        space: bytes for fetched tensors.
        light: whether the model may be open twice at a time; each holds all weights.

    Raises:
        UsageError: NaN or infinity in a tensor; the message names it and the samples.
    """
    fetch = [name for name in tensors if name not in inputs]
    model = _Model(observe)
    rest = [name for name in fetch if name not in surveyed]
    if light and rest and len(samples) > SURVEY:
        model.foresee((rest, selected.isdisjoint(rest)))
    least, sizes = _bytes_per_sample(samples, model, fetch, seed)
    chunks = _chunks(sizes, 4 * space)
    measured = Measured(histograms={name: Histogram() for name in histograms})
    for number, chunk in enumerate(chunks):
        rest = [name for name in chunk if name not in surveyed]
        names = [name for name in tensors if name in chunk or (number == 0 and name in inputs)]
        fit = space // max(sum(sizes[name] for name in chunk), 1)
        whole = selected.isdisjoint(rest)
        first = _Stage(chunk, True, max(fit, least))
        later = first if rest == chunk and whole else _Stage(rest, whole, max(_MORE * fit, least))
        label = "calibrating" if len(chunks) == 1 else f"calibrating, pass {number + 1} of {len(chunks)}"
        work = _Pass(measured, names, len(samples), lenient)
        measured.samples = 0
        batches = samples.batches(min(batch, later.batch), seed)
        for count, arrays in _ahead(_results(model, first, later, batches, samples.axes)):
            work.add(arrays, count)
            measured.samples = min(measured.samples + count, len(samples))  # a fixed batch is filled up
            emit(Progress(label, measured.samples, len(samples), "samples"))
    return measured


@dataclass(frozen=True)
class _Stage:
    """What is to be had: arguments of an ``Observe``, and from how many samples at a time."""

    names: Sequence[str]
    whole: bool
    batch: int


_What = tuple[Sequence[str], bool]


class _Model:
    """Gives what is to be had; opened anew when that changes."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._open: _What | None = None
        self._run: Run = lambda _: {}
        self._coming: tuple[_What, Future[Run]] | None = None

    def foresee(self, what: _What) -> None:
        """Begin to open what will be wanted after what is wanted first."""
        aside = ThreadPoolExecutor(1)
        self._coming = what, aside.submit(self._observe, *what)
        aside.shutdown(wait=False)

    def __call__(self, stage: _Stage, feeds: Arrays) -> Tensors:
        what = (stage.names, stage.whole)
        if self._open != what:
            self._run = lambda _: {}
            memory.give_back()
            self._open, self._run = what, self._opened(what) if stage.names else self._run
            memory.give_back()
        return self._run(feeds)

    def _opened(self, what: _What) -> Run:
        if self._coming is not None and self._coming[0] == what:
            (_, ready), self._coming = self._coming, None
            return ready.result()
        return self._observe(*what)


def _results(
    model: _Model,
    first: _Stage,
    later: _Stage,
    batches: Iterator[dict[str, NDArray[np.generic]]],
    axes: Mapping[str, int | None],
) -> Iterator[tuple[int, Tensors]]:
    """(samples, inputs and tensors by name) per run: all of SURVEY samples, then what is enough of the others."""
    seen = 0
    for feeds in batches:
        stage = first if seen < SURVEY else later
        for part in _parts(feeds, stage.batch, axes):
            count = _count(part, axes)
            yield count, {**model(stage, part), **part}
            seen += count


def _parts(feeds: Arrays, size: int, axes: Mapping[str, int | None]) -> Iterator[Arrays]:
    """So many samples at a time; inputs without an axis hold none, or all of one."""
    for start in range(0, _count(feeds, axes), size):
        yield {name: _cut(array, axes.get(name), start, start + size) for name, array in feeds.items()}


def _cut(array: NDArray[np.generic], axis: int | None, start: int, stop: int) -> NDArray[np.generic]:
    return array if axis is None else array[(slice(None),) * axis + (slice(start, stop),)]


def _count(feeds: Arrays, axes: Mapping[str, int | None]) -> int:
    """Samples of a batch."""
    name, axis = next(iter(axes.items()))
    return 1 if axis is None else int(feeds[name].shape[axis])


def _ahead(results: Iterator[tuple[int, Tensors]]) -> Iterator[tuple[int, Tensors]]:
    """The same; the next batch runs while the caller measures this one.

    A network rarely keeps all cores busy, and what measuring needs fits into the rest.
    """
    with ThreadPoolExecutor(1) as runner:
        coming = runner.submit(next, results, None)
        while (ready := coming.result()) is not None:
            coming = runner.submit(next, results, None)
            yield ready


def _bytes_per_sample(samples: Samples, model: _Model, fetch: Sequence[str], seed: int) -> tuple[int, dict[str, int]]:
    """The least number of samples per run, and from such a run the size of each fetched tensor for one of them."""
    feeds = next(samples.batches(1, seed))
    count = _count(feeds, samples.axes)
    outputs = model(_Stage(fetch, True, count), feeds)
    return count, {name: -(-outputs[name].nbytes // count) for name in fetch}


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
    """One pass over the samples."""

    def __init__(
        self, measured: Measured, tensors: Sequence[str], samples: int, lenient: Mapping[str, Set[str]]
    ) -> None:
        self._measured = measured
        self._tensors = tensors
        self._quota = quota(samples)
        self._lenient = lenient

    def add(self, arrays: Tensors, count: int) -> None:
        """Measure one batch; the first tensor of the graph to break is the one to name."""
        for name in self._tensors:
            found = arrays.get(name)
            if found is None:  # surveyed
                continue
            largest, smallest = (
                self._summary(name, found) if isinstance(found, Summary) else self._array(name, found, count)
            )
            if not (math.isfinite(largest) and math.isfinite(smallest)):
                largest, smallest = self._unbounded(name, found, count)
            self._measured.amax[name] = max(self._measured.amax.get(name, 0.0), largest, -smallest)

    def _unbounded(self, name: str, found: NDArray[np.generic] | Summary, count: int) -> tuple[float, float]:
        """The extremes of a tensor without what may be left out of it; anything else that is not finite is an error."""
        values = np.ravel(found.peaks if isinstance(found, Summary) else found).astype(np.float32)
        nan, finite = np.isnan(values), np.isfinite(values)
        for what, there in (("NaN", nan), ("infinity", ~nan & ~finite)):
            if there.any() and what not in self._lenient.get(name, frozenset()):
                raise _unusable(name, what, self._sample(there, count))
            if there.any():
                self._measured.unbounded.setdefault(name, what)
        kept = values[finite]
        return (float(kept.max()), float(kept.min())) if kept.size else (0.0, 0.0)

    def _sample(self, there: NDArray[np.bool_], count: int) -> str:
        """Which sample of the batch it is, or the batch where a tensor is not one row per sample."""
        first = self._measured.samples
        if there.size % count:
            return f"samples {first} to {first + count - 1}"
        return f"sample {first + int(np.argmax(there.reshape(count, -1).any(axis=1)))}"

    def _array(self, name: str, values: NDArray[np.generic], count: int) -> tuple[float, float]:
        numbers = np.ascontiguousarray(values, np.float32)
        if not numbers.size:
            return 0.0, 0.0
        largest, smallest = _extremes(numbers.reshape(-1))
        if name in self._measured.histograms:
            self._count(name, _selected(numbers, count, self._quota), largest, smallest)
        return largest, smallest

    def _summary(self, name: str, found: Summary) -> tuple[float, float]:
        largest, smallest = _extremes(np.ascontiguousarray(found.peaks, np.float32).reshape(-1))
        if found.sample is not None:
            self._count(name, np.ascontiguousarray(found.sample, np.float32), largest, smallest)
        return largest, smallest

    def _count(self, name: str, numbers: NDArray[np.float32], largest: float, smallest: float) -> None:
        if math.isfinite(largest) and math.isfinite(smallest):
            self._measured.histograms[name].add(numbers, max(largest, -smallest))


def quota(samples: int) -> int:
    """Values of one sample's tensor that enter its histogram, about."""
    return max(PER_SAMPLE, VALUES // max(samples, 1))


def _extremes(numbers: NDArray[np.float32]) -> tuple[float, float]:
    """Largest and smallest value; NaN when there is one."""
    if numbers.size <= _BLOCK:
        return float(np.maximum.reduce(numbers)), float(np.minimum.reduce(numbers))
    blocks = [numbers[start : start + _BLOCK] for start in range(0, numbers.size, _BLOCK)]
    pairs = np.array([(block.max(), block.min()) for block in blocks])
    return float(pairs[:, 0].max()), float(pairs[:, 1].min())


def _selected(numbers: NDArray[np.float32], count: int, quota: int) -> NDArray[np.float32]:
    """The values of a batch that its histogram counts: the same of every sample, however samples are batched."""
    per_sample = numbers.size // count
    stride = _stride(per_sample, quota)
    if stride == 1 or numbers.size % count:
        return numbers
    return np.ascontiguousarray(numbers.reshape(count, per_sample)[:, ::stride])


def _stride(size: int, quota: int) -> int:
    """The step through ``size`` values that takes about ``quota`` of them.

    It shares no factor with the size, hence with no dimension, so that it visits all channels, rows and columns alike.
    """
    stride = max(size // quota, 1)
    while math.gcd(stride, size) > 1:
        stride -= 1  # ends at 1: more values than the quota, never fewer
    return stride


def _unusable(name: str, what: str, which: str) -> UsageError:
    return UsageError(
        f"tensor {name!r} holds {what} for {which}: its range cannot be calibrated",
        hint="take those samples out, or repair the model if its FP32 results are wrong too",
    )
