"""Run one function where the memory that it takes lies alike every time, whatever the process did before.

glibc's allocator gives each thread an arena of its own, so a new thread begins with an empty heap. Two things would mix
it with the others: what the thread itself loads or reads first, which the caller does beforehand; and what it frees for
other threads, which glibc keeps for the thread's next use (tcache) unless ``TUNABLES`` are set when the process starts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")

TUNABLES = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""For the environment of the process: memory goes back to the arena that it came from, whoever frees it."""

_STACK = 64 << 20  # bytes; only those that are touched cost memory, and a main thread may grow to more than the default


def call(work: Callable[[], T], meanwhile: Callable[[], object], every: float) -> T:
    """What ``work`` returns or raises, from a thread of its own.

    Args:
        work: to do.
        meanwhile: called in this thread every so many seconds while it lasts, and once after it.
        every: seconds.
    """
    doing = _Doing(work)
    before = threading.stack_size(_STACK)
    try:
        doing.start()
    finally:
        threading.stack_size(before)
    lasts = True
    while lasts:
        doing.join(every)
        lasts = doing.is_alive()
        meanwhile()
    if doing.error is not None:
        raise doing.error
    return cast("T", doing.result)


class _Doing(threading.Thread, Generic[T]):
    result: T | None = None
    error: BaseException | None = None

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(daemon=True)  # an interrupted process does not wait for it
        self.work = work

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error
