"""Several runners of one model at work on a list of items, each in a thread of its own; results in the items' order."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from trtconv.core.errors import OutOfMemory
from trtconv.engines.plan import dtypes
from trtconv.engines.run.context_pool import Pool, PooledRunner
from trtconv.engines.run.host_buffers import Shapes
from trtconv.engines.run.runner import EngineRunner, Runner

Item = TypeVar("Item")
Result = TypeVar("Result")
_AHEAD = 4  # results per runner that may wait for an earlier one
_THREADS = 2  # with ONNX Runtime, which uses all processors itself: one reads while the other runs
_CONTEXTS = 6  # on a GPU: three pairs, of which one copies while the other computes
_INPUTS = 4 << 30  # bytes, in pinned memory or on the device


@dataclass(frozen=True)
class Crew:
    """Runners, one per thread, and the number of contexts or sessions that they run on."""

    runners: list[Runner]
    contexts: int


@contextlib.contextmanager
def forks(runner: Runner, wanted: int) -> Iterator[list[Runner]]:
    """A runner and further ones of the same model, as many as wanted or as the GPU's memory takes."""
    found = [runner]
    try:
        with contextlib.suppress(OutOfMemory):  # those that there are do the work
            for _ in range(wanted - 1):
                found.append(runner.fork())  # noqa: PERF401 - those before a failure count
        yield found
    finally:
        for fork in found[1:]:
            fork.close()


@contextlib.contextmanager
def workers(
    runner: Runner,
    contexts: int | None,
    sizes: Shapes,
    usual: Shapes | None,
    other: Shapes | None,
    readers: int = 0,
    made: bool = False,
) -> Iterator[Crew]:
    """Runners for threads that read and run samples; on a GPU they share fewer contexts than there are threads.

    Args:
        runner: of the model; on a GPU it rests meanwhile.
        contexts: on a GPU, fewer where its memory does not take them; else threads. None: as many as do well.
        sizes: shapes of some query.
        usual: shapes that most queries have; None where they differ.
        other: shapes of a query that differs; None: there is none.
        readers: threads that are wanted on a GPU at least, to read samples.
        made: whether the only input is made on the GPU.
    """
    if not isinstance(runner, EngineRunner):
        yield Crew([runner.fork() for _ in range(contexts or _THREADS)], contexts or _THREADS)
        return
    runner.rest()
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(contextlib.closing(Pool(runner.engine, contexts or _CONTEXTS, usual, other)))
        each: list[Runner] = []
        for _ in range(_threads(max(len(pool) + 2, readers), runner, sizes, made=made)):
            each.append(PooledRunner(pool, runner.describe(), made=made))
            stack.callback(each[-1].close)
        yield Crew(each, len(pool))


def _threads(least: int, runner: EngineRunner, sizes: Shapes, *, made: bool) -> int:
    """So many that some read while others wait for the GPU, and that the memory of their inputs stays within bounds."""
    wanted = max(least, len(os.sched_getaffinity(0)) * 3 // 4)
    size = sum(math.prod(sizes[info.name]) * dtypes.numpy_type(info.dtype).itemsize for info in runner.inputs)
    bound = min(_INPUTS, runner.engine.device.memory_info()[0] // 4) if made else _INPUTS
    return max(min(wanted, bound // max(size, 1)), 2)


def in_order(
    runners: list[Runner], items: Iterable[Item], work: Callable[[Runner, Item], Result], done: Callable[[Result], None]
) -> None:
    """Work on items in the runners' threads, and hand the results in order to ``done`` in this thread.

    What ``work`` or ``done`` raises ends everything, and is raised here.
    """
    _Crew(runners, iter(items), work).run(done)


class _Crew(Generic[Item, Result]):
    """Threads wake only for what they wait for: who holds the interpreter for nothing holds up the others."""

    def __init__(self, runners: list[Runner], items: Iterator[Item], work: Callable[[Runner, Item], Result]) -> None:
        self.runners, self.items, self.work = runners, items, work
        self.lock = threading.Lock()
        self.finishing, self.making_room = threading.Condition(self.lock), threading.Condition(self.lock)
        self.room = len(runners) * _AHEAD
        self.taken = self.handed = 0
        self.finished: dict[int, Result] = {}
        self.failure: BaseException | None = None
        self.ended = False  # no more items, or nobody wants more results

    def run(self, done: Callable[[Result], None]) -> None:
        threads = [threading.Thread(target=self.toil, args=(runner,), daemon=True) for runner in self.runners]
        for thread in threads:
            thread.start()
        try:
            while (result := self.next()) is not None:
                done(result[0])
        finally:
            with self.lock:
                self.end()
            for thread in threads:
                thread.join()

    def end(self) -> None:
        """Have everybody look; with the lock held."""
        self.ended = True
        self.finishing.notify_all()
        self.making_room.notify_all()

    def next(self) -> tuple[Result] | None:
        """The next result in order; None after the last."""
        with self.lock:
            self.finishing.wait_for(
                lambda: self.failure or self.handed in self.finished or (self.ended and self.handed == self.taken)
            )
            if self.failure is not None:
                raise self.failure
            if self.handed not in self.finished:
                return None
            result = self.finished.pop(self.handed)
            self.handed += 1
            self.making_room.notify()
            return (result,)

    def toil(self, runner: Runner) -> None:
        try:
            with runner.current():
                while (taken := self.take()) is not None:
                    number, item = taken
                    result = self.work(runner, item)
                    with self.lock:
                        self.finished[number] = result
                        if number == self.handed:
                            self.finishing.notify()
        except BaseException as failure:  # noqa: BLE001 - raised again in the thread that asked for the results
            with self.lock:
                self.failure = self.failure or failure
                self.end()

    def take(self) -> tuple[int, Item] | None:
        """An item with its number; None when there is no more to do."""
        with self.lock:
            self.making_room.wait_for(lambda: self.ended or self.taken - self.handed < self.room)
            if self.ended:
                return None
            try:
                item = next(self.items)
            except StopIteration:
                self.end()
                return None
            self.taken += 1
            return self.taken - 1, item
