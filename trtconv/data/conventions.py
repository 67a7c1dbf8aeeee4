"""Libraries whose ways of scaling and cutting images a row may follow."""

from __future__ import annotations

from enum import StrEnum, auto


class Convention(StrEnum):
    """A word of ``like``."""

    TORCHVISION = auto()
    KERAS = auto()
    OPENCV = auto()
