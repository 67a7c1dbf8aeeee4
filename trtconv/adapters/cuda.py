"""One small interface to the GPU: memory, streams, events, graphs and kernels, through either of two packages.

``cuda`` is cuda-bindings (NVIDIA's own runtime API), ``pycuda`` is PyCUDA on the device's primary context, the one that
TensorRT uses too. Both give the same classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trtconv.adapters import cuda_driver
from trtconv.core import versions
from trtconv.core.errors import EnvironmentProblem, MissingPackage, OutOfMemory
from trtconv.core.lazy import resolve
from trtconv.core.units import format_bytes

APIS = {
    "cuda": ("trtconv.adapters.cuda_bindings:open_device", "cuda-bindings"),
    "pycuda": ("trtconv.adapters.cuda_pycuda:open_device", "pycuda"),
}
"""Implementation and distribution per name, in the order of preference."""


class Memory(Protocol):
    """Device memory, aligned to at least 256 bytes."""

    address: int
    size: int

    def close(self) -> None:
        """Free it; a second call does nothing."""


class HostBytes(Protocol):
    """Page-locked bytes of the host, and where they are: to ask an array takes longer than to enqueue its copy."""

    @property
    def address(self) -> int:
        """Of the first."""

    @property
    def array(self) -> NDArray[np.uint8]:
        """The bytes."""


class HostSlice(NamedTuple):
    """See ``HostBytes``; some of those that something else holds."""

    address: int
    array: NDArray[np.uint8]


class Pinned(HostBytes, Protocol):
    """Page-locked host memory, which copies run at full speed and in the background."""

    def close(self) -> None:
        """Free it; the array must not be used any more."""


class Registered(Protocol):
    """Memory of this process's that was page-locked where it is."""

    def close(self) -> None:
        """Unlock it; a second call does nothing."""


class Kernel(Protocol):
    """A function for the GPU whose parameters are addresses, as many as it was looked up with."""

    def launch(
        self, stream: Stream, grid: tuple[int, int, int], block: tuple[int, int, int], addresses: Sequence[int]
    ) -> None:
        """Enqueue it."""


class Module(Protocol):
    """Compiled kernels."""

    def kernel(self, name: str, parameters: int) -> Kernel:
        """One of them, with its number of parameters."""

    def close(self) -> None:
        """Unload it; its kernels must not be used any more."""


class Event(Protocol):
    """A point in a stream."""

    def record(self, stream: Stream) -> None:
        """Mark the point after everything that the stream holds now."""

    def synchronize(self) -> None:
        """Wait until it is reached."""

    def since(self, start: Event) -> float:
        """Milliseconds from ``start``; both must have been reached."""

    def close(self) -> None:
        """Free it."""


class Graph(Protocol):
    """Captured work."""

    def launch(self, stream: Stream) -> None:
        """Enqueue it all."""

    def close(self) -> None:
        """Free it."""


class Stream(Protocol):
    """A queue of work that does not wait for the default stream."""

    handle: int

    def synchronize(self) -> None:
        """Wait until it is empty."""

    def wait(self, event: Event) -> None:
        """What comes next waits for the event."""

    def copy_in(self, target: int, source: HostBytes) -> None:
        """Copy host bytes to a device address."""

    def copy_out(self, target: HostBytes, source: int) -> None:
        """Copy from a device address to host bytes."""

    def copy_within(self, target: int, source: int, size: int) -> None:
        """Copy bytes from one device address to another."""

    def capture(self, work: Callable[[], None]) -> Graph:
        """What ``work`` enqueues on this stream, as a graph, without running it.

        The capture concerns this thread only: others may allocate and launch meanwhile.

        Raises:
            EnvironmentProblem: the work cannot be captured.
        """

    def close(self) -> None:
        """Free it."""


class Script:
    """Calls that are made again and again, written down once: after a run of TensorRT, Python is slow."""

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Add anything."""
        self._steps.append((function, arguments))

    def record(self, event: Event, stream: Stream) -> None:
        """Add ``Event.record``."""
        self.call(event.record, stream)

    def wait(self, stream: Stream, event: Event) -> None:
        """Add ``Stream.wait``."""
        self.call(stream.wait, event)

    def copy_in(self, stream: Stream, target: int, source: HostBytes) -> None:
        """Add ``Stream.copy_in``."""
        self.call(stream.copy_in, target, source)

    def copy_out(self, stream: Stream, target: HostBytes, source: int) -> None:
        """Add ``Stream.copy_out``."""
        self.call(stream.copy_out, target, source)

    def run(self) -> None:
        """Make all calls."""
        for function, arguments in self._steps:
            function(*arguments)


class Device(Protocol):
    """One GPU through one package.

    Attributes:
        api: ``cuda`` or ``pycuda``.
        gpu: which one.
    """

    api: str
    gpu: cuda_driver.Gpu

    def current(self) -> AbstractContextManager[None]:
        """Make the device current in this thread; every thread but the opening one needs it around its work."""

    def memory_info(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU."""

    def memory(self, size: int) -> Memory:
        """Allocate device memory.

        Raises:
            EnvironmentProblem: there is not enough.
        """

    def pinned(self, size: int) -> Pinned:
        """Allocate page-locked host memory."""

    def register(self, array: NDArray[np.uint8]) -> Registered:
        """Page-lock memory that begins with a page, for copies from it.

        Raises:
            EnvironmentProblem: it cannot be.
        """

    def module(self, ptx: bytes) -> Module:
        """Compile kernels for this GPU.

        Raises:
            EnvironmentProblem: the driver is too old for such PTX.
        """

    def stream(self) -> Stream:
        """Make a stream."""

    def event(self, *, spin: bool = True) -> Event:
        """Make an event; waiting for it spins, or sleeps until an interrupt."""

    def script(self) -> Script:
        """An empty one, for streams and events of this device."""

    def spans(self, pairs: Sequence[tuple[Event, Event]]) -> Callable[[], list[float]]:
        """What tells the milliseconds from the first to the second event of each pair, as ``Event.since``."""

    def synchronize(self) -> None:
        """Wait for everything."""

    def close(self) -> None:
        """Leave the device; everything made from it must be closed before."""


@dataclass(frozen=True)
class DeviceFacts:
    """What a report says of a GPU."""

    name: str
    capability: str
    memory: int
    cuda: str


def open_device(api: str = "auto", index: int = 0) -> Device:
    """Open a GPU and make it current in this thread.

    Args:
        api: ``cuda``, ``pycuda``, or ``auto`` for the first of them that is installed.
        index: which GPU.

    Raises:
        EnvironmentProblem: no driver, or no such GPU.
        MissingPackage: the package is not installed.
    """
    gpus = cuda_driver.gpus()
    if not gpus:
        raise EnvironmentProblem(cuda_driver.problem(), hint="run trtconv doctor on the machine with the GPU")
    if index >= len(gpus):
        raise EnvironmentProblem(f"there is no GPU {index}: this machine has {len(gpus)}")
    function, _ = APIS[_choose(api)]
    device: Device = resolve(function)(gpus[index])
    return device


def facts(device: Device) -> DeviceFacts:
    """What a report says of an open device."""
    gpu = device.gpu
    return DeviceFacts(gpu.name, f"{gpu.capability[0]}.{gpu.capability[1]}", gpu.memory, cuda_driver.cuda_version())


def probe() -> dict[str, str]:
    """Driver, GPUs and packages of this machine, for people to read; creates no context."""
    found = {name: versions.of([distribution]).get(distribution, "") for name, (_, distribution) in APIS.items()}
    gpus = cuda_driver.gpus()
    return {
        "driver": f"CUDA {cuda_driver.cuda_version()}" if cuda_driver.cuda_version() else "none",
        "gpus": "; ".join(_sentence(gpu) for gpu in gpus) or f"none: {cuda_driver.problem()}",
        **{f"device_api {name}": version or "not installed" for name, version in found.items()},
    }


def out_of_memory(size: int, free: int) -> OutOfMemory:
    """The error for an allocation that failed."""
    return OutOfMemory(
        f"out of GPU memory: {format_bytes(size)} needed, {format_bytes(free)} free",
        hint="lower the batch size or the number of streams, or free the GPU of other processes",
    )


def _choose(api: str) -> str:
    wanted = [api] if api != "auto" else list(APIS)
    installed = [name for name in wanted if versions.of([APIS[name][1]])]
    if not installed:
        raise MissingPackage(APIS[wanted[0]][1], wanted[0], f"running on the GPU with device_api {api}")
    return installed[0]


def _sentence(gpu: cuda_driver.Gpu) -> str:
    return f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}, {format_bytes(gpu.memory)}"
