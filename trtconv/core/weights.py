"""Contents of large constants that are not in memory until somebody reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

HELD_ABOVE = 16 << 10
"""Bytes of a constant from which it is kept aside; smaller ones are needed to fold batch normalization."""


@dataclass(frozen=True)
class Weight:
    """The contents of a large constant, read when they are needed.

    Attributes:
        nbytes: their size.
        read: makes them readable, without a copy where they need none.
    """

    nbytes: int
    read: Callable[[], memoryview]


def large(content: bytes) -> Weight | None:
    """Contents as a weight, if they are large enough to be held aside."""
    return Weight(len(content), lambda: memoryview(content)) if len(content) > HELD_ABOVE else None
