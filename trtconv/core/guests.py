"""Processes of other interpreters that work for this one: ended before it ends, counted in its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class _Closable(Protocol):
    def close(self) -> None: ...


OPEN: list[_Closable] = []
_peak = [0]


@contextmanager
def closed() -> Iterator[None]:
    """Close at the end what is open by then."""
    try:
        yield
    finally:
        while OPEN:
            OPEN[-1].close()


def count_memory(peak: int) -> None:
    """Count in the peak memory of one, in bytes."""
    _peak[0] = max(_peak[0], peak)


def peak_memory() -> int:
    """Of the largest, in bytes; 0 without one."""
    return _peak[0]
