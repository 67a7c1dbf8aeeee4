"""Inputs that are made on the GPU: parcels are copied to it from where other processes packed them, and kernels run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trtconv.adapters.cuda import Device, Event, HostSlice, Kernel, Registered
from trtconv.core.packed_images import Contents
from trtconv.engines.run.device_memory import Growing

_ROOM = 2  # times a parcel: its pixels, and what comes between the kernels' two passes


class Target:
    """An input of a query on the device, with a stream of its own for what makes it. Grows, never shrinks."""

    def __init__(self, device: Device) -> None:
        self.stream = device.stream()
        self._made = device.event()  # streams wait for it, no thread does
        self._memory = Growing(device)
        self.samples = self.nbytes = 0

    @property
    def address(self) -> int:
        """Of its first sample."""
        return self._memory.address

    def lay(self, samples: int, nbytes: int) -> None:
        """Make room; nothing may be running.

        Raises:
            EnvironmentProblem: out of memory.
        """
        self._memory.resize(nbytes)
        self.samples, self.nbytes = samples, nbytes

    def part(self, place: int) -> int:
        """The address of a sample."""
        return self.address + place * (self.nbytes // self.samples)

    def made(self) -> Event:
        """A point after everything that is enqueued now."""
        self._made.record(self.stream)
        return self._made

    def close(self) -> None:
        """Free it, once what is enqueued is done."""
        self.stream.synchronize()
        for part in (self._made, self._memory, self.stream):
            part.close()


class Landings:
    """Makes landings, which share the kernels (see ``parcels.Landings``).

    Args:
        device: the GPU.
        ptx: kernels.

    Raises:
        EnvironmentProblem: the driver does not take the kernels.
    """

    def __init__(self, device: Device, ptx: bytes) -> None:
        self.device = device
        self._module = device.module(ptx)
        self._kernels: dict[str, Kernel] = {}

    def __call__(self, memory: NDArray[np.uint8]) -> Landing:
        """See ``parcels.Landings``."""
        return Landing(self, memory)

    def kernel(self, name: str) -> Kernel:
        """One of the kernels; it takes two addresses."""
        if name not in self._kernels:
            self._kernels[name] = self._module.kernel(name, 2)
        return self._kernels[name]

    def close(self) -> None:
        """Unload the kernels; after the landings are closed."""
        self._kernels.clear()
        self._module.close()


class Landing:
    """See ``parcels.Landing``."""

    def __init__(self, owner: Landings, memory: NDArray[np.uint8]) -> None:
        self._owner, self._source = owner, HostSlice(int(memory.ctypes.data), memory)
        device = owner.device
        self._registered: Registered = device.register(memory)
        self._there = Growing(device)
        try:
            self._there.resize(_ROOM * memory.nbytes)  # memory takes milliseconds, and no parcel should wait for it
        except BaseException:
            self._registered.close()
            raise
        self._used = device.event(spin=False)
        self._busy = False

    def land(self, contents: Contents, target: Target, place: int) -> None:
        """See ``parcels.Landing``."""
        with self._owner.device.current():
            parcel = self._there.resize(contents.room)
            target.stream.copy_in(parcel, HostSlice(self._source.address, self._source.array[: contents.size]))
            for launch in contents.launches:
                kernel = self._owner.kernel(launch.kernel)
                kernel.launch(target.stream, launch.grid, launch.block, (parcel, target.part(place)))
            self._used.record(target.stream)
            self._busy = True

    def wait(self) -> None:
        """See ``parcels.Landing``."""
        if self._busy:
            with self._owner.device.current():
                self._used.synchronize()
            self._busy = False

    def close(self) -> None:
        """See ``parcels.Landing``."""
        self.wait()
        for part in (self._registered, self._there, self._used):
            part.close()
