"""calibrate: activation ranges of an FP32 ONNX model on real samples become a TensorRT calibration cache."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.names import did_you_mean
from trtconv.core.records import FeedSpec

if TYPE_CHECKING:
    from trtconv.calibration.collect import Measured, Run
    from trtconv.data.feeds import Feed
    from trtconv.graph.observe import Probe


LIGHT = 64 * 2**20
"""Bytes up to which a model may be open twice at a time: opening is most of what a small one costs."""


@dataclass(frozen=True)
class CalibrateRequest:
    """What to calibrate.

    Attributes:
        model: FP32 ONNX.
        data: samples.
        cache: the cache to write (TensorRT text format); ``<cache>.json`` beside it holds its facts (model digest,
            data digest, method, samples) and every tensor's measured largest magnitude, for the half-precision rules.
        method: a row of ``trtconv.calibration.methods.METHODS``.
        batch: samples per run.
        seed: order of the samples when fewer are used than there are.
    """

    model: Path
    data: FeedSpec
    cache: Path
    method: str = "minmax"
    batch: int = 10
    seed: int = 0


@dataclass(frozen=True)
class CalibrateResult:
    """The cache written: how many tensors it covers, from how many samples, by which method."""

    cache: Path
    tensors: int
    samples: int
    method: str


def calibrate(request: CalibrateRequest, emit: Emit) -> CalibrateResult:
    """Run the samples through the model and write the cache with its sidecar.

    The cache does not depend on what a later lowering excludes: it holds every float activation, those that
    quantization may need by the method asked for, the others by their largest magnitude in the first samples (see
    ``calibration.collect``).

    Raises:
        UsageError: an unknown method; samples that are missing, too few, of the wrong shape, or that overflow.
        SourceError: the model cannot be read or run.
        ConversionError: the model is not FP32.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trtconv.calibration import cache
    from trtconv.calibration.methods import METHODS
    from trtconv.core import digests

    if request.method not in METHODS:
        raise UsageError(
            f"calibration method: expected one of {', '.join(METHODS)}, got {request.method!r}",
            hint=did_you_mean(request.method, METHODS),
        )
    with ThreadPoolExecutor(1) as aside:  # opening a model keeps one core busy, hashing another
        model_digest = aside.submit(digests.of_file, request.model)
        model, feed = _open(request)
        data_digest = aside.submit(feed.digest)
        measured = _measure(request, model, feed, emit)
    amax = {
        name: METHODS[request.method](measured.histograms[name]) if name in measured.histograms else seen
        for name, seen in measured.amax.items()
    }
    token = cache.ALGORITHMS.get(request.method, cache.DEFAULT_ALGORITHM)
    facts = cache.Facts(
        model_digest.result(),
        data_digest.result(),
        request.method,
        measured.samples,
        request.batch,
        request.seed,
        measured.amax,
    )
    cache.write(request.cache, cache.Cache(amax, algorithm=token), facts)
    emit(Message(f"{request.cache}: ranges of {len(amax)} tensors from {measured.samples} samples ({request.method})"))
    return CalibrateResult(request.cache, len(amax), measured.samples, request.method)


def _open(request: CalibrateRequest) -> tuple[Any, Feed]:
    """The model and its samples."""
    from trtconv.data.feeds import open_feed
    from trtconv.graph import editing, fp32_only, model_io

    model = model_io.load(request.model)
    fp32_only.require(model, str(request.model))
    editing.normalize(model)
    inputs, _ = model_io.interface(model)
    feed = open_feed(request.data, inputs)
    if request.data.samples and len(feed) < request.data.samples:
        raise UsageError(
            f"{request.data.samples} samples asked for, but there are only {len(feed)}",
            hint="lower samples, or give more data",
        )
    return model, feed


def _measure(request: CalibrateRequest, model: Any, feed: Feed, emit: Emit) -> Measured:
    """Ranges of all float activations; histograms too where the method needs them."""
    from trtconv.adapters import onnxruntime
    from trtconv.calibration.collect import collect, quota
    from trtconv.graph import model_io, observe

    observe.declare(model)
    inputs, _ = model_io.interface(model)
    tensors, wanted = _tensors(model)
    counted = [name for name in tensors if name in wanted] if request.method != "minmax" else []
    origins = observe.origins(model, tensors)
    distinct = list(dict.fromkeys(origins.values()))
    histograms = list(dict.fromkeys(origins[name] for name in counted))
    exact = observe.probes(model, distinct, histograms, quota(len(feed)))
    selected = observe.selections(model, histograms, quota(len(feed)))
    needed = {origins[name] for name in wanted}
    one_at_a_time = Lock()

    def observer(fetch: Sequence[str], whole: bool) -> Run:
        probing = exact if whole else {**exact, **selected}
        with one_at_a_time:  # the model has the outputs of this one meanwhile
            serialized = observe.observed(model, fetch, probing)
        # threads that spin would take the processor from the histograms
        session = onnxruntime.session(serialized, sparing=True)
        return _summaries(session.run_reusing, {name: probing[name] for name in fetch})

    measured = collect(
        feed,
        observer,
        distinct,
        [i.name for i in inputs if i.name in distinct],
        histograms,
        surveyed=[name for name in distinct if name not in needed],
        selected=selected.keys(),
        lenient=_lenient(model, distinct, needed),
        batch=request.batch,
        seed=request.seed,
        emit=emit,
        light=model.ByteSize() <= LIGHT,
    )
    if measured.unbounded:
        emit(Message(_left_out(measured.unbounded)))
    measured.amax = {name: measured.amax[origins[name]] for name in tensors}
    measured.histograms = {name: measured.histograms[origins[name]] for name in counted}
    return measured


def _lenient(model: Any, tensors: Sequence[str], needed: Collection[str]) -> dict[str, frozenset[str]]:
    """What may be left out of each tensor's range.

    Of what a quantized operator reads nothing may. The model's inputs and outputs may hold infinity, as masks and
    logarithms of probabilities do; what is in between may hold NaN as well, which something further on replaces.
    """
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    infinite, anything = frozenset({"infinity"}), frozenset({"infinity", "NaN"})
    return {name: infinite if name in ends else anything for name in tensors if name not in needed}


def _left_out(unbounded: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name!r} ({what})" for name, what in list(unbounded.items())[:5])
    more = f" and {len(unbounded) - 5} more" if len(unbounded) > 5 else ""
    return f"left out of ranges that no quantized operator needs: values that are not finite of {shown}{more}"


def _tensors(model: Any) -> tuple[list[str], set[str]]:
    """All tensors to measure, and those of them that a quantized model may need."""
    from trtconv.graph import observe, placement

    tensors = observe.activations(model)
    wanted = {name for kind in ("int8", "fp8") for name in placement.plan(model, kind).tensors}
    return tensors + sorted(wanted.difference(tensors)), wanted


def _summaries(run: Callable[[Any], Mapping[str, Any]], probing: Mapping[str, Probe]) -> Run:
    """The run with what the probes tell as the tensors that they stand for."""
    from trtconv.calibration.collect import Summary

    def summarised(feeds: Any) -> Mapping[str, Any]:
        arrays = run(feeds)
        return {
            name: arrays[probe.whole]
            if probe.whole
            else Summary(arrays[probe.peak or probe.sample], arrays.get(probe.sample))
            for name, probe in probing.items()
        }

    return summarised
