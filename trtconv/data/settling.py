"""Where in memory a process decodes images: the place decides how fast.

The same image took 0.54 ms or 0.80 ms on one machine, by nothing but what else had been allocated before: the same at
every start of a program, another after any change of it. Most likely the processor takes loads from libjpeg's tables
for dependent on stores of coefficients a multiple of 4096 bytes away.
malloc gives out the same places again and again, so a process finds a good one once, before it begins.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Callable

_TRIES = 8  # places to compare
_MOST = 40
_PATIENCE = 0.5  # seconds
_NEAR = 1.08  # times the best is good enough
_ROOM = (20_000, 30_000)  # bytes, more than what libjpeg takes at a time: what comes next lies elsewhere
_kept: list[bytearray] = []  # what makes malloc give out that place, for as long as the process lives
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)


def keep_memory() -> None:
    """Have freed memory kept for the next image: the system zeroes each page anew that it gives out again."""
    for option, size in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 512 << 20), (_TOP_PAD, 16 << 20)):
        with contextlib.suppress(AttributeError, OSError):  # of glibc
            ctypes.CDLL(None).mallopt(option, size)


def settle(work: Callable[[], object]) -> None:
    """Find a place where work is fast; large images get fewer tries.

    Args:
        work: decodes an image or a few, as will be done from now on: what it allocates for good is part of the place.
    """
    end = time.monotonic() + _PATIENCE
    work()
    times = [_seconds(work)]
    while len(times) < _TRIES or (times[-1] > _NEAR * min(times) and len(times) < _MOST):
        if time.monotonic() > end:
            return
        _kept.extend(bytearray(size + 144 * len(times)) for size in _ROOM)
        times.append(_seconds(work))


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of three."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)
