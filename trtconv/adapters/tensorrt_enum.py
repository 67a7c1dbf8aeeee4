"""Members of TensorRT's enumerations, whose numbers differ from version to version."""

from __future__ import annotations

from typing import Protocol


class Enum(Protocol):
    """A member of a bound enumeration. Its integer differs between versions: go by the name."""

    @property
    def name(self) -> str:
        """The member's name."""

    def __int__(self) -> int: ...
