"""bench: what a model does per second, and how long one query takes, by named rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtconv.core.records import FeedSpec


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


@dataclass(frozen=True)
class Measurement:
    """One batch size.

    Attributes:
        batch: samples per query.
        queries: counted.
        throughput: samples per second over the counted wall time.
        latency_ms: ``{"mean": ..., "min": ..., "max": ..., "p50": ..., ...}`` in milliseconds, by the semantics' rule.
        h2d_ms: median copy to the device; None without copies or without a GPU.
        compute_ms: median compute time; None where it cannot be told apart.
        d2h_ms: median copy back; None likewise.
        enqueue_ms: median host time to enqueue; None without a GPU.
        cuda_graph: whether queries were replayed from a CUDA graph.
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


@dataclass(frozen=True)
class BenchResult:
    """All measurements with what ran them.

    Attributes:
        runner: as in ``infer``.
        fell_back: as in ``infer``.
        semantics: the rules, by name.
        measurements: in the order asked for.
        memory: bytes of device memory in use by the engine and its contexts; None without a GPU.
    """

    runner: str
    fell_back: str
    semantics: str
    measurements: tuple[Measurement, ...]
    memory: int | None = None
