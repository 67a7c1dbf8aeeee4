"""What travels from the processes that decode pictures to the GPU, which finishes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Three = tuple[int, int, int]


@dataclass(frozen=True)
class Launch:
    """One kernel, by its name in the module.

    Attributes:
        kernel: its name; it takes two addresses, that of the parcel and that of what is to be made of it.
        grid: blocks in x, y and z.
        block: threads in x, y and z.
    """

    kernel: str
    grid: Three
    block: Three


@dataclass(frozen=True)
class Contents:
    """What a parcel holds.

    Attributes:
        samples: how many it makes.
        size: bytes to copy.
        room: bytes that the kernels need on the device, what they keep in between included.
        launches: kernels, in order.
    """

    samples: int
    size: int
    room: int
    launches: tuple[Launch, ...]


class Landing(Protocol):
    """Where parcels from one piece of memory arrive on the GPU, one after the other."""

    def land(self, contents: Contents, target: Any, place: int) -> None:
        """Enqueue the copy of what lies in the memory now, and its kernels.

        Args:
            contents: of the parcel.
            target: the input that it is a part of.
            place: of its first sample there.
        """

    def wait(self) -> None:
        """Until the last parcel is used up: from then on the memory may hold another."""

    def close(self) -> None:
        """Free what belongs to it; the memory may go afterwards."""


class Landings(Protocol):
    """Makes landings."""

    def __call__(self, memory: NDArray[np.uint8]) -> Landing:
        """One for a piece of memory that stays where it is, a whole number of pages.

        Raises:
            EnvironmentProblem: the GPU cannot read it.
        """
