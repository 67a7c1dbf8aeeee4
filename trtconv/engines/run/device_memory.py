"""Device memory that grows with what it has to hold."""

from __future__ import annotations

from trtconv.adapters.cuda import Device, Memory

_ALIGNED = 256  # bytes, as device memory is


class Growing:
    """Device memory that grows, never shrinks."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: Memory | None = None

    @property
    def address(self) -> int:
        """0 where there is none yet."""
        return 0 if self._memory is None else self._memory.address

    @property
    def size(self) -> int:
        """Bytes that it has room for."""
        return 0 if self._memory is None else self._memory.size

    def resize(self, size: int) -> int:
        """Its address, with room for ``size`` bytes; what it held is lost if it moves.

        Raises:
            EnvironmentProblem: out of memory.
        """
        if self._memory is None or self._memory.size < size:
            self.close()
            self._memory = self._device.memory(max(size, _ALIGNED))
        return self._memory.address

    def close(self) -> None:
        """Free it; it may grow again."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
