"""Measures by the host's clock: every context has one query under way and begins the next when it has the result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trtconv.backends.rules import Limits, Query
from trtconv.backends.runner import Runner

_WARM = 2  # runs before anything counts: first-shape compilation, allocation


def measure(runner: Runner, feeds: Mapping[str, np.ndarray], limits: Limits, streams: int,
            tell: Callable[[float], None]) -> list[Query]:  # fmt: skip
    """Run a model host to host, in one thread per stream.

    Args:
        runner: what to run; further threads get forks of it.
        feeds: inputs of every query.
        limits: how long.
        streams: threads.
        tell: gets the seconds since the start, about ten times a second, from this thread; first 0.0, when
            everything is ready.

    Returns:
        The queries that began after the warm-up, in the order of their start.
    """
    runners = [runner, *(runner.fork() for _ in range(streams - 1))]
    try:
        for each in runners:
            for _ in range(_WARM):
                each.run(feeds)
        tell(0.0)
        return _race(runners, feeds, limits, tell)
    finally:
        for fork in runners[1:]:
            fork.close()


def _race(
    runners: Sequence[Runner], feeds: Mapping[str, np.ndarray], limits: Limits, tell: Callable[[float], None]
) -> list[Query]:
    begin = time.perf_counter()
    found: list[list[Query]] = [[] for _ in runners]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with runners[number].current():
                _loop(runners[number], feeds, limits, begin, found[number])
        except BaseException as failure:  # noqa: BLE001 - raised again in the measuring thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(runners))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        threads[0].join(0.1) if threads[0].is_alive() else time.sleep(0.01)
        tell(time.perf_counter() - begin)
    if failures:
        raise failures[0]
    return sorted((query for part in found for query in part), key=lambda query: query.start)


def _loop(runner: Runner, feeds: Mapping[str, np.ndarray], limits: Limits, begin: float, found: list[Query]) -> None:
    warm, until = limits.warmup, limits.warmup + limits.duration
    clock = time.perf_counter
    start = clock() - begin
    while len(found) < limits.iterations or start < until:
        runner.run(feeds)
        end = clock() - begin
        if start >= warm:
            found.append(Query(start * 1e3, end * 1e3, (end - start) * 1e3))
        start = clock() - begin
