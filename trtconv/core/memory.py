"""Memory that was freed: given back, or kept."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """Return freed memory to the system, where the C library can: glibc keeps much of it for later.

    Worth its few milliseconds between two steps of which the first has freed something large.
    """
    with contextlib.suppress(AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


def keep() -> None:
    """Have freed memory kept for what comes next, where the C library can: fresh pages cost a fault each to zero.

    For a process that goes on doing the same, such as decoding images.
    """
    for option, size in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 512 << 20), (_TOP_PAD, 16 << 20)):
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).mallopt(option, size)


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
