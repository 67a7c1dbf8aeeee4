"""Memory that was freed and still belongs to the process."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """Return freed memory to the system, where the C library can: glibc keeps much of it for later.

    Worth its few milliseconds between two steps of which the first has freed something large.
    """
    with contextlib.suppress(AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)
