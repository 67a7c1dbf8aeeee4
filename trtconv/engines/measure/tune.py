"""The settings that bring the most samples through an engine: contexts, queries in flight, CUDA graph, batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.engines.measure import gpu_loop
from trtconv.engines.measure.semantics import PIPELINED, Limits, Rules
from trtconv.engines.measure.statistics import percentile
from trtconv.engines.run.slots import OnGpu

STREAMS = (1, 2, 3, 4, 8)
DEPTHS = (1, 2)
_TRIAL = Limits(warmup=0.1, duration=0.4, iterations=5)
_GAIN = 1.01  # more contexts must bring more than noise


@dataclass(frozen=True)
class Trial:
    """One setting and what it brought.

    Attributes:
        batch: samples per query.
        streams: execution contexts.
        depth: queries in flight on each.
        graph: whether queries were replayed from CUDA graphs.
        throughput: samples per second.
        p99_ms: from the start of a query's copy in to the end of its copy out, waiting included.
    """

    batch: int
    streams: int
    depth: int
    graph: bool
    throughput: float
    p99_ms: float

    @property
    def rules(self) -> Rules:
        """The rules to measure it by again."""
        return replace(PIPELINED, depth=self.depth, graph=self.graph)


def search(
    engine: OnGpu,
    feeds: Mapping[int, Mapping[str, np.ndarray]],
    max_latency: float | None,
    tell: Callable[[Trial], None],
    ready: Callable[[], None] | None = None,
) -> list[Trial]:
    """Try settings, each batch for itself: more contexts as long as that helps, then without graph.

    Args:
        engine: what to tune.
        feeds: inputs by batch size.
        max_latency: milliseconds that the 99th percentile may take; None: any.
        tell: gets every trial.
        ready: called when a trial has everything allocated.

    Returns:
        The best trial of each batch that keeps the limit, the best of all first.

    Raises:
        UsageError: none keeps it; says what the fastest takes.
    """
    attempt = partial(_try, engine, ready)
    trials = [trial for batch, inputs in feeds.items() for trial in _batch(attempt, batch, inputs, max_latency, tell)]
    within = [trial for trial in trials if max_latency is None or trial.p99_ms <= max_latency]
    if not within:
        fastest = min(trials, key=lambda trial: trial.p99_ms)
        raise UsageError(
            f"no setting keeps a latency of {max_latency} ms: the fastest takes {fastest.p99_ms:.3f} ms "
            f"at batch {fastest.batch}",
            hint="allow more, or tune smaller batches",
        )
    best = [max((t for t in within if t.batch == b), key=lambda t: t.throughput) for b in {t.batch for t in within}]
    return sorted(best, key=lambda trial: -trial.throughput)


def _batch(
    attempt: Callable[..., Trial],
    batch: int,
    feeds: Mapping[str, np.ndarray],
    max_latency: float | None,
    tell: Callable[[Trial], None],
) -> Iterator[Trial]:
    found: list[Trial] = []
    for streams in STREAMS:
        try:
            tried = [attempt(batch, feeds, streams, depth, graph=True) for depth in DEPTHS]
        except EnvironmentProblem:  # no memory for so many contexts
            if not found:
                raise
            break
        for trial in tried:
            tell(trial)
        previous, gained = _best(found), _best(tried)
        found += tried
        too_slow = max_latency is not None and all(trial.p99_ms > max_latency for trial in tried)
        if too_slow or gained < _GAIN * previous:
            break
    top = max(found, key=lambda trial: trial.throughput)
    if top.graph:
        plain = attempt(batch, feeds, top.streams, top.depth, graph=False)
        tell(plain)
        found.append(plain)
    yield from found


def _best(trials: Sequence[Trial]) -> float:
    return max((trial.throughput for trial in trials), default=0.0)


def _try(
    engine: OnGpu,
    ready: Callable[[], None] | None,
    batch: int,
    feeds: Mapping[str, np.ndarray],
    streams: int,
    depth: int,
    *,
    graph: bool,
) -> Trial:
    def told(seconds: float) -> None:
        if seconds == 0.0 and ready is not None:
            ready()

    rules = replace(PIPELINED, depth=depth, graph=graph)
    recorded = gpu_loop.measure(engine, feeds, rules, _TRIAL, streams, told)
    queries = recorded.queries
    wall = (max(query.end for query in queries) - min(query.start for query in queries)) / 1e3
    return Trial(
        batch=batch,
        streams=streams,
        depth=depth,
        graph=recorded.graph,
        throughput=batch * len(queries) / wall,
        p99_ms=percentile(sorted(query.latency for query in queries), 99),
    )
