"""Measures by the host's clock: a thread per stream, which has one query under way.

A stream begins its next query when it has the result of the last (a closed loop), or takes the next of requests that
arrive at times of their own (an open loop): then waiting for a free stream is part of the latency.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trtconv.engines.measure.semantics import Limits, Query
from trtconv.engines.run.runner import Runner

_WARM = 2  # runs before anything counts: first-shape compilation, allocation
_AWAKE = 2e-4  # seconds


def measure(
    runner: Runner,
    feeds: Mapping[str, np.ndarray],
    limits: Limits,
    streams: int,
    tell: Callable[[float], None],
    rate: float | None = None,
    stop: threading.Event | None = None,
) -> tuple[list[Query], bool]:
    """Run a model host to host, in one thread per stream.

    Args:
        runner: what to run; further threads get forks of it.
        feeds: inputs of every query.
        limits: how long.
        streams: threads.
        tell: gets the seconds since the start, about ten times a second, from this thread; first 0.0, when
            everything is ready.
        rate: queries per second that arrive at random, independent times (a Poisson process, the same in every run);
            None: each stream's next query begins when its last one ends.
        stop: ends it early, once set.

    Returns:
        The queries that began after the warm-up, in the order of their start, and whether it was stopped.
    """
    runners = [runner, *(runner.fork() for _ in range(streams - 1))]
    try:
        for each in runners:
            for _ in range(_WARM):
                each.run(feeds)
        tell(0.0)
        return _race(runners, feeds, limits, tell, None if rate is None else _Arrivals(rate), stop or threading.Event())
    finally:
        for fork in runners[1:]:
            fork.close()


def _race(
    runners: Sequence[Runner],
    feeds: Mapping[str, np.ndarray],
    limits: Limits,
    tell: Callable[[float], None],
    arrivals: _Arrivals | None,
    stop: threading.Event,
) -> tuple[list[Query], bool]:
    begin = time.perf_counter()
    found: list[list[Query]] = [[] for _ in runners]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with runners[number].current():
                loop = _loop if arrivals is None else arrivals.loop
                loop(runners[number], feeds, limits, begin, found[number], stop)
        except BaseException as failure:  # noqa: BLE001 - raised again in the measuring thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(runners))]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            threads[0].join(0.1) if threads[0].is_alive() else time.sleep(0.01)
            tell(time.perf_counter() - begin)
    except BaseException:  # Ctrl-C: nobody may close what still runs
        stop.set()
        for thread in threads:
            thread.join()
        raise
    if failures:
        raise failures[0]
    return sorted((query for part in found for query in part), key=lambda query: query.start), stop.is_set()


def _loop(
    runner: Runner,
    feeds: Mapping[str, np.ndarray],
    limits: Limits,
    begin: float,
    found: list[Query],
    stop: threading.Event,
) -> None:
    warm, until = limits.warmup, limits.warmup + limits.duration
    clock = time.perf_counter
    start = clock() - begin
    while (len(found) < limits.iterations or start < until) and not stop.is_set():
        runner.run(feeds)
        end = clock() - begin
        if start >= warm:
            found.append(Query(start * 1e3, end * 1e3, (end - start) * 1e3))
        start = clock() - begin


class _Arrivals:
    """Requests at random times, one queue for all streams."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.times = np.random.default_rng(0)
        self.last = 0.0
        self.lock = threading.Lock()

    def next(self) -> float:
        """Seconds from the begin to the next arrival."""
        with self.lock:
            self.last += float(self.times.exponential(1 / self.rate))
            return self.last

    def loop(
        self,
        runner: Runner,
        feeds: Mapping[str, np.ndarray],
        limits: Limits,
        begin: float,
        found: list[Query],
        stop: threading.Event,
    ) -> None:
        """One stream's part."""
        until = limits.warmup + limits.duration
        while ((arrival := self.next()) < until or len(found) < limits.iterations) and not stop.is_set():
            _sleep_until(begin + arrival)
            runner.run(feeds)
            end = time.perf_counter() - begin
            if arrival >= limits.warmup:
                found.append(Query(arrival * 1e3, end * 1e3, (end - arrival) * 1e3))


def _sleep_until(when: float) -> None:
    """Sleeping is late by up to 0.1 ms: the rest is spent awake."""
    if (left := when - time.perf_counter()) > _AWAKE:
        time.sleep(left - _AWAKE)
    while time.perf_counter() < when:
        pass
