"""The GPU through PyCUDA, on the device's primary context: the one that TensorRT and the CUDA runtime API use.

``pycuda.autoinit`` is never imported: it makes a context of its own, whose streams and memory are invalid elsewhere.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trtconv.adapters import cuda, cuda_driver
from trtconv.adapters.cuda_driver import Gpu
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.extras import install_line

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING in cuda.h


def open_device(gpu: Gpu) -> cuda.Device:
    """Make a GPU's primary context current in this thread.

    Raises:
        EnvironmentProblem: the package does not load.
    """
    try:
        from pycuda import driver
    except ImportError as error:
        raise EnvironmentProblem(
            f"PyCUDA is installed but does not load: {error}", hint=f"{install_line('pycuda')} --force-reinstall"
        ) from error
    driver.init()
    return cast("cuda.Device", _Device(driver, gpu))  # a device takes its own streams and events only


class _Memory:
    """See ``cuda.Memory``."""

    def __init__(self, driver: Any, size: int) -> None:
        self.size = size
        try:
            self._allocation = driver.mem_alloc(max(size, 1))
        except driver.MemoryError:
            raise cuda.out_of_memory(size, driver.mem_get_info()[0]) from None
        self.address = int(self._allocation)

    def close(self) -> None:
        if self.address:
            self._allocation.free()
            self.address = 0


class _Pinned:
    """See ``cuda.Pinned``."""

    def __init__(self, driver: Any, size: int) -> None:
        self._block: Any = driver.pagelocked_empty(max(size, 1), np.uint8)
        self.array: NDArray[np.uint8] = self._block[:size]
        self.address = int(self._block.ctypes.data)

    def close(self) -> None:
        if self.address:
            self.array = np.empty(0, np.uint8)
            self._block.base.free()
            self._block = None
            self.address = 0


class _Registered:
    """See ``cuda.Registered``. PyCUDA's own function fails with NumPy 2."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self._address = int(array.ctypes.data)
        cuda_driver.page_lock(self._address, array.nbytes)

    def close(self) -> None:
        if self._address:
            cuda_driver.page_unlock(self._address)
            self._address = 0


class _Module:
    """See ``cuda.Module``."""

    def __init__(self, driver: Any, ptx: bytes) -> None:
        try:
            self._raw: Any = driver.module_from_buffer(ptx)
        except driver.Error as error:
            raise EnvironmentProblem(f"the driver cannot compile kernels: {error}") from None

    def kernel(self, name: str, parameters: int) -> _Kernel:
        return _Kernel(self._raw.get_function(name), parameters)

    def close(self) -> None:
        self._raw = None  # PyCUDA unloads it with the last reference


class _Kernel:
    """See ``cuda.Kernel``."""

    def __init__(self, function: Any, parameters: int) -> None:
        self._function = function
        function.prepare("P" * parameters)

    def launch(
        self, stream: _Stream, grid: tuple[int, int, int], block: tuple[int, int, int], addresses: Sequence[int]
    ) -> None:
        self._function.prepared_async_call(grid, block, stream.raw, *addresses)


class _Event:
    """See ``cuda.Event``."""

    def __init__(self, driver: Any, spin: bool) -> None:
        self.raw = driver.Event(driver.event_flags.DEFAULT if spin else driver.event_flags.BLOCKING_SYNC)

    def record(self, stream: _Stream) -> None:
        self.raw.record(stream.raw)

    def synchronize(self) -> None:
        self.raw.synchronize()

    def since(self, start: _Event) -> float:
        return float(start.raw.time_till(self.raw))

    def close(self) -> None:
        self.raw = None  # PyCUDA destroys it with the last reference


class _Stream:
    """See ``cuda.Stream``."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.raw = driver.Stream(_NON_BLOCKING)
        self.handle = int(self.raw.handle)

    def synchronize(self) -> None:
        self.raw.synchronize()

    def wait(self, event: _Event) -> None:
        self.raw.wait_for_event(event.raw)

    def copy_in(self, target: int, source: cuda.HostBytes) -> None:
        self._driver.memcpy_htod_async(target, source.array, self.raw)

    def copy_out(self, target: cuda.HostBytes, source: int) -> None:
        self._driver.memcpy_dtoh_async(target.array, source, self.raw)

    def copy_within(self, target: int, source: int, size: int) -> None:
        self._driver.memcpy_dtod_async(target, source, size, self.raw)

    def capture(self, work: Callable[[], None]) -> cuda_driver.Graph:
        return cuda_driver.Graph(self.handle, work)

    def close(self) -> None:
        self.raw = None
        self.handle = 0


class _Device:
    """See ``cuda.Device``."""

    api = "pycuda"

    def __init__(self, driver: Any, gpu: Gpu) -> None:
        self._driver = driver
        self.gpu = gpu
        self._context: Any = _primary(gpu.index)
        self._context.push()
        self._thread = threading.get_ident()  # contexts are stacked by thread: only there can it be popped
        atexit.register(self.close)  # a context still pushed at exit makes PyCUDA abort the process

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def memory_info(self) -> tuple[int, int]:
        free, total = self._driver.mem_get_info()
        return int(free), int(total)

    def memory(self, size: int) -> _Memory:
        return _Memory(self._driver, size)

    def pinned(self, size: int) -> _Pinned:
        return _Pinned(self._driver, size)

    def register(self, array: NDArray[np.uint8]) -> _Registered:
        return _Registered(array)

    def module(self, ptx: bytes) -> _Module:
        return _Module(self._driver, ptx)

    def stream(self) -> _Stream:
        return _Stream(self._driver)

    def event(self, *, spin: bool = True) -> _Event:
        return _Event(self._driver, spin)

    def script(self) -> cuda.Script:
        return cuda.Script()

    def spans(self, pairs: Sequence[tuple[_Event, _Event]]) -> Callable[[], list[float]]:
        return lambda: [end.since(start) for start, end in pairs]

    def synchronize(self) -> None:
        self._driver.Context.synchronize()

    def close(self) -> None:
        if self._context is not None and threading.get_ident() == self._thread:
            atexit.unregister(self.close)
            self._context.pop()
            self._context = None


@cache
def _primary(index: int) -> Any:
    """A GPU's primary context, one object for the whole process.

    It is never released: PyCUDA's ``detach`` of a context that is not current pushes it and leaves it there, and
    memory, streams and engines that are freed afterwards crash the process.
    """
    from pycuda import driver

    return driver.Device(index).retain_primary_context()
