"""What the NVIDIA driver says of this machine, asked through its C library: needs no package, creates no context."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trtconv.core.errors import EnvironmentProblem

if TYPE_CHECKING:
    from trtconv.adapters import cuda

_CC_MAJOR, _CC_MINOR, _INTEGRATED = 75, 76, 18  # CUdevice_attribute in cuda.h
_NO_DEVICE = 100
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: as CUDA counts.
        name: such as ``NVIDIA H200``.
        capability: compute capability (major, minor).
        memory: bytes.
        integrated: whether it shares the host's memory.
        uuid: as NVIDIA's tools write it, such as ``GPU-1b2c...``; empty when the driver does not tell.
    """

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    integrated: bool
    uuid: str = ""


@dataclass(frozen=True)
class _Machine:
    cuda: int
    gpus: tuple[Gpu, ...]
    problem: str


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA can use; empty without a driver."""
    return _machine().gpus


def cuda_version() -> str:
    """Highest CUDA version of the driver, such as ``13.0``; empty without a driver."""
    number = _machine().cuda
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def problem() -> str:
    """Why there is no GPU, as the end of a sentence; empty when there is one."""
    return _machine().problem


def page_lock(address: int, size: int) -> None:
    """Have copies read this process's memory at full speed, in the CUDA context that is current.

    Raises:
        EnvironmentProblem: the driver refuses.
    """
    status = ctypes.CDLL("libcuda.so.1").cuMemHostRegister_v2(ctypes.c_void_p(address), ctypes.c_size_t(size), 0)
    if status:
        raise EnvironmentProblem(f"host memory cannot be page-locked (CUDA error {status})")


def page_unlock(address: int) -> None:
    """Undo ``page_lock``."""
    ctypes.CDLL("libcuda.so.1").cuMemHostUnregister(ctypes.c_void_p(address))


def current_context() -> int:
    """The CUDA context of this thread, as a number; 0 where it has none."""
    context = ctypes.c_void_p()
    _quick().cuCtxGetCurrent(ctypes.byref(context))
    return context.value or 0


@cache
def _quick() -> ctypes.PyDLL:
    """The driver's library, for calls that return at once: other threads keep waiting for the interpreter meanwhile."""
    return ctypes.PyDLL("libcuda.so.1")


class Graph:
    """Work that a stream captured, ready to be launched (see ``cuda.Graph``).

    Args:
        stream: handle of a stream of the context that is current.
        work: enqueues on it. Calls of other threads neither become part of the graph nor break it.

    Raises:
        EnvironmentProblem: the work cannot be captured; what ``work`` raises, else.
    """

    def __init__(self, stream: int, work: Callable[[], None]) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        # A launch takes less time than giving up the interpreter and getting it back from other threads.
        self._launch = _quick().cuGraphLaunch
        self._launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._executable = ctypes.c_void_p()
        captured, raw = ctypes.c_void_p(), ctypes.c_void_p(stream)
        self._require("cuStreamBeginCapture_v2", raw, _THREAD_LOCAL)
        try:
            work()
        finally:  # a stream that is left capturing is of no use any more
            status = self._driver.cuStreamEndCapture(raw, ctypes.byref(captured))
        if status:
            raise EnvironmentProblem(f"cuStreamEndCapture fails (CUDA error {status})")
        try:
            place, no_flags = ctypes.byref(self._executable), ctypes.c_ulonglong(0)
            self._require("cuGraphInstantiateWithFlags", place, captured, no_flags)
        finally:
            self._driver.cuGraphDestroy(captured)

    def launch(self, stream: cuda.Stream) -> None:
        """Enqueue it all."""
        if status := self._launch(self._executable, stream.handle):
            raise EnvironmentProblem(f"cuGraphLaunch fails (CUDA error {status})", hint="run trtconv doctor")

    def close(self) -> None:
        """Free it."""
        if self._executable:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()

    def _require(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            raise EnvironmentProblem(f"{name} fails (CUDA error {status})", hint="run trtconv doctor")


@cache
def _machine() -> _Machine:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return _Machine(0, (), "this machine has no NVIDIA driver (libcuda.so.1 is missing)")
    version, count = ctypes.c_int(), ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version))
    status = status or driver.cuDeviceGetCount(ctypes.byref(count))
    if status == _NO_DEVICE or (status == 0 and count.value == 0):
        return _Machine(version.value, (), "the NVIDIA driver sees no GPU")
    if status:
        return _Machine(0, (), f"the NVIDIA driver does not start (CUDA error {status})")
    return _Machine(version.value, tuple(_gpu(driver, index) for index in range(count.value)), "")


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    raw = ctypes.create_string_buffer(16)
    uuid = "" if driver.cuDeviceGetUuid(raw, device) else f"GPU-{UUID(bytes=raw.raw)}"
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        capability=(attribute(_CC_MAJOR), attribute(_CC_MINOR)),
        memory=memory.value,
        integrated=bool(attribute(_INTEGRATED)),
        uuid=uuid,
    )
