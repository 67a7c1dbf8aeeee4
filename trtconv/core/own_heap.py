"""Run one function where the memory that it takes lies alike every time, whatever the process did before.

glibc's allocator gives each thread an arena of its own, so a new thread begins with an empty heap. What would mix it
with others: what the thread itself loads or reads first, which the caller does beforehand; and what ``ENVIRONMENT``
prevents where the process started with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")

ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "PYTHONMALLOC": "pymalloc"}
"""Of the process: memory that one thread frees for another goes back to where it came from instead of staying for the
next use (tcache), and Python's small objects lie elsewhere, as they do unless somebody debugs Python."""

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
