"""Figures of a measurement from its queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from trtconv.engines.measure import statistics
from trtconv.engines.measure.power import Drawn
from trtconv.engines.measure.semantics import Query
from trtconv.stages.bench.records import Measurement

JUDGED = (50, 99)  # percentiles that gates and baselines are about, whatever is to be printed
PARTS = ("h2d", "compute", "d2h", "enqueue")


def measurement(batch: int, queries: Sequence[Query], percentiles: Sequence[float], *, graph: bool) -> Measurement:
    """Throughput, latencies and their parts of the queries of one batch size; times in milliseconds."""
    wall = (max(query.end for query in queries) - min(query.start for query in queries)) / 1e3
    latency = [query.latency for query in queries]
    compute = [query.compute for query in queries if query.compute is not None]
    return Measurement(
        batch=batch,
        queries=len(queries),
        throughput=batch * len(queries) / wall,
        latency_ms=statistics.summary(latency, percentiles),
        judged_ms=statistics.summary(latency, JUDGED),
        h2d_ms=median(queries, "h2d"),
        compute_ms=median(queries, "compute"),
        d2h_ms=median(queries, "d2h"),
        enqueue_ms=median(queries, "enqueue"),
        cuda_graph=graph,
        variation=statistics.variation(compute or latency),
        wall=wall,
        parts_ms=_parts(queries, percentiles),
    )


def _parts(queries: Sequence[Query], percentiles: Sequence[float]) -> dict[str, dict[str, float]]:
    values = {part: [v for query in queries if (v := getattr(query, part)) is not None] for part in PARTS}
    return {part: statistics.summary(times, percentiles) for part, times in values.items() if times}


def median(queries: Sequence[Query], part: str) -> float | None:
    """Of one of ``PARTS``, in milliseconds; None where it could not be told apart."""
    values = sorted(value for query in queries if (value := getattr(query, part)) is not None)
    return statistics.median(values) if values else None


def weights(runner: object) -> dict[str, int]:
    """Bytes of weights that can be streamed, of those on the GPU and of scratch memory; empty where none can."""
    from trtconv.engines.run import weight_streaming

    return weight_streaming.facts(runner)


def power(drawn: Drawn, throughput: float) -> dict[str, Any]:
    """What the GPU drew, and per sample at so many samples per second."""
    samples = throughput * drawn.seconds
    joules = drawn.joules if drawn.joules is not None else drawn.joules_integrated
    return {
        **dataclasses.asdict(drawn),
        "joules_per_sample": joules / samples,
        "samples_per_joule": samples / joules if joules else None,
    }
