"""What a benchmark is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core.records import AS_USUAL, FeedSpec, Loading, PartTime, ShapeRange


@dataclass(frozen=True)
class Exports:
    """Files to write in trtexec's forms, of the first batch; None: not written.

    Attributes:
        times: of every query that counts.
        outputs: of one query.
        profile: times of the layers.
        layers: what TensorRT tells of the layers.
    """

    times: Path | None = None
    outputs: Path | None = None
    profile: Path | None = None
    layers: Path | None = None


@dataclass(frozen=True)
class BenchRequest:
    """What to measure.

    Attributes:
        model: .engine, .onnx or .parts.
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
        rules: fields of ``engines.measure.semantics.Rules`` that differ from the semantics' own; None: they do not.
        repeats: times that each batch is measured; the run with the median throughput is told, and the spread of all.
        rate: queries per second that arrive at random times (``app`` only); None: a closed loop.
        layers: measure every layer too, in a run of its own.
        tune: search for the settings with the most throughput, and measure those.
        max_latency: seconds that the 99th percentile may take while tuning; None: any.
        against: what to compare with: ``onnxruntime``, ``pytorch:module:function``.
        allow_code: whether functions of the user's may be called.
        exports: files to write besides.
        values: ranges of the values of inputs that decide shapes, for a model that does not know them itself.
        loading: how the engine is loaded.
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
    rules: Mapping[str, bool | int | None] = field(default_factory=dict)
    repeats: int = 1
    rate: float | None = None
    layers: bool = False
    tune: bool = False
    max_latency: float | None = None
    against: tuple[str, ...] = ()
    allow_code: bool = False
    exports: Exports = Exports()
    values: Mapping[str, ShapeRange] = field(default_factory=dict)
    loading: Loading = AS_USUAL


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
        power: what the GPU drew (see ``engines.measure.power.Drawn``), and ``joules_per_sample``, ``samples_per_joule``
            (which is samples per second per watt); empty where NVML does not tell.
        repeats: throughput of every repetition, in samples per second.
        layers: name and least milliseconds of every layer, where they were asked for.
        streams: execution contexts.
        depth: queries in flight on each.
        partial: whether Ctrl-C ended it early.
        part_times: of a model in parts, each part's; see ``core.records.PartTime``.
        judged_ms: of the latency, the median and the 99th percentile, which gates and baselines are about.
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
    power: dict[str, Any] = field(default_factory=dict)
    repeats: tuple[float, ...] = ()
    layers: tuple[tuple[str, float], ...] = ()
    streams: int = 1
    depth: int = 1
    partial: bool = False
    judged_ms: dict[str, float] = field(default_factory=dict)
    part_times: tuple[PartTime, ...] = ()


@dataclass(frozen=True)
class Rival:
    """One way to run the model, host to host under the rules of ``app``.

    Attributes:
        name: ``this``, or as in ``against``.
        runner: what ran.
        batch: samples per query.
        throughput: samples per second.
        p50_ms: median latency.
    """

    name: str
    runner: str
    batch: int
    throughput: float
    p50_ms: float


@dataclass(frozen=True)
class BenchResult:
    """All measurements with what ran them.

    Attributes:
        runner: as in ``infer``.
        fell_back: as in ``infer``.
        semantics: the rules, by name, and where they were changed: ``trtexec10(graph=on)``.
        measurements: in the order asked for.
        memory: bytes of device memory in use by the engine and its contexts, in the measurement that took most; None
            without a GPU.
        conditions: how it was measured in fact: ``clock``, ``transfers``, ``wait``, ``depth``, ``streams``.
        notes: what a reader must know of these numbers: parts of the semantics that could not apply, doubtful times.
        memory_parts: of the same moment, bytes by ``engine``, ``contexts`` (with their buffers) and ``process`` (all of
            it, CUDA's own part included); without those that are not known.
        memory_peak: the same of the moment that took most, while settings were tried too.
        weights: as in ``infer``.
        rivals: the comparison, this engine first; empty without ``against``.
        tuned: the winning settings as YAML; empty without ``tune``.
        trials: every setting that was tried.
        partial: whether Ctrl-C came before everything was measured.
    """

    runner: str
    fell_back: str
    semantics: str
    measurements: tuple[Measurement, ...]
    memory: int | None = None
    conditions: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    memory_parts: dict[str, int] = field(default_factory=dict)
    memory_peak: dict[str, int] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()
    tuned: str = ""
    trials: tuple[dict[str, Any], ...] = ()
    partial: bool = False
