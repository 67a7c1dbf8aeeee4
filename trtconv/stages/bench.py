"""bench: what a model does per second, and how long one query takes, by named rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.names import did_you_mean
from trtconv.core.records import FeedSpec

PARTS = ("h2d", "compute", "d2h", "enqueue")

if TYPE_CHECKING:
    import numpy as np

    from trtconv.backends.rules import Limits, Query, Rules
    from trtconv.backends.runner import Runner


@dataclass(frozen=True)
class BenchRequest:
    """What to measure.

    Attributes:
        model: .engine or .onnx.
        fallback: as in ``infer``.
        backend: as in ``infer``.
        batches: batch sizes, one measurement each; empty: the profile's opt.
        semantics: ``trtexec10``, ``trtexec11`` or ``app`` (see docs/bench.md).
        warmup: seconds before queries count.
        duration: seconds that count, at least.
        iterations: queries that count, at least.
        percentiles: of the latency.
        streams: execution contexts, each with its own streams.
        data: real samples; None: random ones from a fixed seed.
        device_api: ``auto``, ``cuda`` or ``pycuda``.
        rules: fields of ``backends.rules.Rules`` that differ from the semantics' own; None: they do not.
    """

    model: Path
    fallback: Path | None = None
    backend: str = "auto"
    batches: tuple[int, ...] = ()
    semantics: str = "trtexec11"
    warmup: float = 0.2
    duration: float = 3.0
    iterations: int = 10
    percentiles: tuple[float, ...] = (50, 90, 95, 99)
    streams: int = 1
    data: FeedSpec | None = None
    device_api: str = "auto"
    rules: Mapping[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One batch size.

    Attributes:
        batch: samples per query.
        queries: counted.
        throughput: samples per second over the counted wall time.
        latency_ms: ``{"mean": ..., "min": ..., "max": ..., "median": ..., "p50": ..., ...}`` in milliseconds, by the
            semantics' rule.
        h2d_ms: median copy to the device; None without copies or without a GPU.
        compute_ms: median compute time; None where it cannot be told apart.
        d2h_ms: median copy back; None likewise.
        enqueue_ms: median host time to enqueue; None without a GPU.
        cuda_graph: whether queries were replayed from a CUDA graph.
        variation: coefficient of variation of the compute time (of the latency where that is unknown), in per cent.
        wall: seconds from the first counted start to the last end.
        parts_ms: the same numbers as of the latency, for each of ``h2d``, ``compute``, ``d2h`` and ``enqueue`` that
            could be told apart.
    """

    batch: int
    queries: int
    throughput: float
    latency_ms: dict[str, float]
    h2d_ms: float | None = None
    compute_ms: float | None = None
    d2h_ms: float | None = None
    enqueue_ms: float | None = None
    cuda_graph: bool = False
    variation: float = 0.0
    wall: float = 0.0
    parts_ms: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchResult:
    """All measurements with what ran them.

    Attributes:
        runner: as in ``infer``.
        fell_back: as in ``infer``.
        semantics: the rules, by name, and where they were changed: ``trtexec10(graph=on)``.
        measurements: in the order asked for.
        memory: most bytes of device memory in use by the engine and its contexts; None without a GPU.
        conditions: how it was measured in fact: ``clock``, ``transfers``, ``wait``, ``depth``, ``streams``.
        notes: what a reader must know of these numbers: parts of the semantics that could not apply, doubtful times.
    """

    runner: str
    fell_back: str
    semantics: str
    measurements: tuple[Measurement, ...]
    memory: int | None = None
    conditions: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def bench(request: BenchRequest, emit: Emit) -> BenchResult:
    """Measure a model, one batch size after the other.

    Raises:
        UsageError: unknown semantics, a batch that the model does not take, samples that do not fit.
        SourceError: a damaged model file.
        EnvironmentProblem: the engine cannot run here, and the request allows nothing else.
    """
    from trtconv.backends.rules import RULES, changed
    from trtconv.backends.runner import open_runner

    if request.semantics not in RULES:
        raise UsageError(f"unknown semantics {request.semantics!r}; there are {', '.join(RULES)}",
                         hint=did_you_mean(request.semantics, RULES))  # fmt: skip
    runner, fell_back = open_runner(request.model, request.backend, request.fallback, request.device_api, emit)
    try:
        if fell_back:
            emit(Message(f"ONNX Runtime runs the ONNX model instead of the engine: {fell_back}", "warning"))
        return _Bench(request, runner, changed(RULES[request.semantics], request.rules), emit).result(fell_back)
    finally:
        runner.close()


class _Bench:
    def __init__(self, request: BenchRequest, runner: Runner, rules: Rules, emit: Emit) -> None:
        self.request, self.runner, self.rules, self.emit = request, runner, rules, emit
        self.memory: int | None = None
        self.notes: dict[str, None] = {}

    def result(self, fell_back: str) -> BenchResult:
        from trtconv.backends import profiles

        runner, rules = self.runner, self.rules
        batches = self.request.batches or (profiles.usual_batch(runner.inputs, runner.profiles) or 1,)
        feeds = [self.feeds(batch) for batch in batches]  # all of them first: a mistake costs no measurement
        if self.on_cpu:
            self.notes["measured on the CPU by the host's clock, one query at a time per stream: copies, CUDA graphs, "
                       "spinning and queries in flight do not apply"] = None  # fmt: skip
        measured = tuple(self.measurement(batch, feed) for batch, feed in zip(batches, feeds, strict=True))
        conditions = {"clock": "host" if self.by_host else "GPU events", "transfers": rules.transfers,
                      "wait": "spin" if rules.spin else "sleep", "depth": rules.depth}  # fmt: skip
        if self.on_cpu:
            conditions = {"clock": "host", "transfers": False, "wait": "call", "depth": 1}
        return BenchResult(runner.describe(), fell_back, rules.name, measured, self.memory,
                           {**conditions, "streams": self.request.streams}, tuple(self.notes))  # fmt: skip

    @property
    def on_cpu(self) -> bool:
        from trtconv.backends.runner import OnnxRunner

        return isinstance(self.runner, OnnxRunner)

    @property
    def by_host(self) -> bool:
        return self.rules.wall_clock or self.on_cpu

    def feeds(self, batch: int) -> dict[str, np.ndarray]:
        from trtconv.backends import profiles, synthetic
        from trtconv.data.feeds import open_feed

        shapes = profiles.shapes_at(self.runner.inputs, self.runner.profiles, batch)
        if self.request.data is None:
            return synthetic.feeds(self.runner.inputs, shapes)
        feed = open_feed(self.request.data, self.runner.inputs)
        if len(feed) < batch:
            raise UsageError(f"a batch of {batch} was asked for, and there are {len(feed)} samples",
                             hint="measure smaller batches, or leave the data out for random inputs")  # fmt: skip
        return next(feed.batches(batch))

    def measurement(self, batch: int, feeds: dict[str, np.ndarray]) -> Measurement:
        from trtconv.backends import closed_loop, gpu_loop
        from trtconv.backends.rules import Limits
        from trtconv.backends.runner import EngineRunner

        request = self.request
        limits = Limits(request.warmup, request.duration, request.iterations)

        def tell(seconds: float) -> None:
            self.told(batch, limits, seconds)

        if not self.by_host and isinstance(self.runner, EngineRunner):
            recorded = gpu_loop.measure(self.runner.engine, feeds, self.rules, limits, request.streams, tell)
            if recorded.note:
                self.notes[f"no CUDA graph: {recorded.note}"] = None
            self.doubt(batch, recorded.queries)
            return _measurement(batch, recorded.queries, request.percentiles, recorded.graph)
        return _measurement(batch, closed_loop.measure(self.runner, feeds, limits, request.streams, tell),
                            request.percentiles, graph=False)  # fmt: skip

    def told(self, batch: int, limits: Limits, seconds: float) -> None:
        if seconds == 0.0 and (used := self.runner.memory()) is not None:  # everything is allocated, nothing runs yet
            self.memory = max(used, self.memory or 0)
        total = limits.warmup + limits.duration
        self.emit(Progress(f"batch {batch}", min(seconds, total), total, "s"))

    def doubt(self, batch: int, queries: Sequence[Query]) -> None:
        """The warnings that trtexec gives, by its own thresholds."""
        from trtconv.backends.statistics import variation

        compute = _median(queries, "compute") or 0.0
        if (_median(queries, "enqueue") or 0.0) > 0.8 * compute:
            self.notes[f"batch {batch}: enqueueing takes the host nearly as long as the GPU computes"] = None
        if any((_median(queries, copy) or 0.0) >= compute for copy in ("h2d", "d2h")):
            self.notes[f"batch {batch}: a copy takes longer than the computation"] = None
        if variation([query.compute or 0.0 for query in queries]) > 2.5:
            self.notes[f"batch {batch}: compute times vary by more than 2.5 %; were the clocks stable?"] = None
        if self.request.streams > 1:
            self.notes["several streams share the GPU: latencies hold for this load only"] = None


def _measurement(batch: int, queries: Sequence[Query], percentiles: Sequence[float], graph: bool) -> Measurement:
    from trtconv.backends import statistics

    wall = (max(query.end for query in queries) - min(query.start for query in queries)) / 1e3
    latency = [query.latency for query in queries]
    compute = [query.compute for query in queries if query.compute is not None]
    return Measurement(
        batch, len(queries), batch * len(queries) / wall, statistics.summary(latency, percentiles),
        _median(queries, "h2d"), _median(queries, "compute"), _median(queries, "d2h"), _median(queries, "enqueue"),
        graph, statistics.variation(compute or latency), wall, _parts(queries, percentiles))  # fmt: skip


def _parts(queries: Sequence[Query], percentiles: Sequence[float]) -> dict[str, dict[str, float]]:
    from trtconv.backends import statistics

    values = {part: [v for query in queries if (v := getattr(query, part)) is not None] for part in PARTS}
    return {part: statistics.summary(times, percentiles) for part, times in values.items() if times}


def _median(queries: Sequence[Query], part: str) -> float | None:
    from trtconv.backends import statistics

    values = sorted(value for query in queries if (value := getattr(query, part)) is not None)
    return statistics.median(values) if values else None
