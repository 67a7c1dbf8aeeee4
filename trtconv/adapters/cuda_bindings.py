"""The GPU through cuda-bindings, NVIDIA's own binding of the CUDA runtime API."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trtconv.adapters import cuda, cuda_driver
from trtconv.adapters.cuda_driver import Gpu
from trtconv.core.errors import EnvironmentProblem, OutOfMemory
from trtconv.core.extras import install_line


def open_device(gpu: Gpu) -> cuda.Device:
    """Make a GPU current in this thread.

    Raises:
        EnvironmentProblem: the package does not load, or the driver is too old for it.
    """
    try:
        from cuda.bindings import driver, runtime
    except ImportError as error:
        raise EnvironmentProblem(
            f"cuda-bindings is installed but does not load: {error}", hint=f"{install_line('cuda')} --force-reinstall"
        ) from error
    return cast("cuda.Device", _Device(runtime, driver, gpu))  # a device takes its own streams and events only


class _Calls:
    """The runtime's functions; they return (status, results...), here a bad status becomes an error."""

    def __init__(self, runtime: Any) -> None:
        self.runtime, self.good = runtime, runtime.cudaError_t.cudaSuccess

    def __call__(self, name: str, *args: Any) -> Any:
        status, *results = getattr(self.runtime, name)(*args)
        if status.value:
            raise self.error(name, status)
        return results[0] if len(results) == 1 else tuple(results)

    def error(self, name: str, status: Any) -> EnvironmentProblem:
        text = self.runtime.cudaGetErrorString(status)[1].decode()
        hint = ""
        if status == self.runtime.cudaError_t.cudaErrorInsufficientDriver:
            hint = "install a cuda-bindings whose major version is the driver's CUDA version, or a newer driver"
        short = status == self.runtime.cudaError_t.cudaErrorMemoryAllocation
        return (OutOfMemory if short else EnvironmentProblem)(f"{name} failed: {status.name}: {text}", hint=hint)


class _Memory:
    """See ``cuda.Memory``."""

    def __init__(self, call: _Calls, size: int) -> None:
        self._call, self.size = call, size
        status, pointer = call.runtime.cudaMalloc(max(size, 1))
        if status == call.runtime.cudaError_t.cudaErrorMemoryAllocation:
            call.runtime.cudaGetLastError()  # else the next call reports it again
            raise cuda.out_of_memory(size, call("cudaMemGetInfo")[0])
        if status.value:
            raise call.error("cudaMalloc", status)
        self.address = int(pointer)

    def close(self) -> None:
        if self.address:
            self._call("cudaFree", self.address)
            self.address = 0


class _Pinned:
    """See ``cuda.Pinned``."""

    def __init__(self, call: _Calls, size: int) -> None:
        self._call = call
        self.address = int(call("cudaMallocHost", max(size, 1)))
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.address))

    def close(self) -> None:
        if self.address:
            self.array = np.empty(0, np.uint8)
            self._call("cudaFreeHost", self.address)
            self.address = 0


class _Registered:
    """See ``cuda.Registered``."""

    def __init__(self, call: _Calls, array: NDArray[np.uint8]) -> None:
        self._call, self._address = call, int(array.ctypes.data)
        call("cudaHostRegister", self._address, array.nbytes, 0)

    def close(self) -> None:
        if self._address:
            self._call("cudaHostUnregister", self._address)
            self._address = 0


class _Module:
    """See ``cuda.Module``. The driver's API: it shares its context, streams and addresses with the runtime's."""

    def __init__(self, driver: Any, ptx: bytes) -> None:
        self._driver = driver
        self._raw: Any = _driven(driver, "cuModuleLoadData", ptx + b"\0")

    def kernel(self, name: str, parameters: int) -> _Kernel:
        return _Kernel(self._driver, _driven(self._driver, "cuModuleGetFunction", self._raw, name.encode()), parameters)

    def close(self) -> None:
        if self._raw is not None:
            _driven(self._driver, "cuModuleUnload", self._raw)
            self._raw = None


class _Kernel:
    """See ``cuda.Kernel``."""

    def __init__(self, driver: Any, function: Any, parameters: int) -> None:
        self._driver, self._function = driver, function
        self._array = ctypes.c_void_p * parameters

    def launch(
        self, stream: _Stream, grid: tuple[int, int, int], block: tuple[int, int, int], addresses: Sequence[int]
    ) -> None:
        values = self._array(*addresses)  # the driver wants the address of each, and copies them before it returns
        begin, size = ctypes.addressof(values), ctypes.sizeof(ctypes.c_void_p)
        places = self._array(*range(begin, begin + len(values) * size, size))
        _driven(
            self._driver, "cuLaunchKernel", self._function, *grid, *block, 0, stream.handle, ctypes.addressof(places), 0
        )


def _driven(driver: Any, name: str, *args: Any) -> Any:
    """A call of the driver's API."""
    status, *results = getattr(driver, name)(*args)
    if status.value:
        text = driver.cuGetErrorString(status)[1]
        raise EnvironmentProblem(f"{name} failed: {status.name}: {text.decode() if text else 'no more is known'}")
    return results[0] if results else None


class _Event:
    """See ``cuda.Event``."""

    def __init__(self, call: _Calls, spin: bool) -> None:
        self._call = call
        runtime, self._good = call.runtime, call.good
        self._record, self._elapsed = runtime.cudaEventRecord, runtime.cudaEventElapsedTime
        self._wait = runtime.cudaEventSynchronize
        self.handle = call("cudaEventCreateWithFlags", 0 if spin else call.runtime.cudaEventBlockingSync)

    def record(self, stream: _Stream) -> None:
        status = self._record(self.handle, stream.raw)[0]
        if status != self._good:
            raise self._call.error("cudaEventRecord", status)

    def synchronize(self) -> None:
        status = self._wait(self.handle)[0]
        if status != self._good:
            raise self._call.error("cudaEventSynchronize", status)

    def since(self, start: _Event) -> float:
        status, milliseconds = self._elapsed(start.handle, self.handle)
        if status != self._good:
            raise self._call.error("cudaEventElapsedTime", status)
        return milliseconds  # type: ignore[no-any-return]  # a float

    def close(self) -> None:
        if self.handle is not None:
            self._call("cudaEventDestroy", self.handle)
            self.handle = None


class _Stream:
    """See ``cuda.Stream``."""

    def __init__(self, call: _Calls) -> None:
        self._call = call
        self._copy, self._wait, self._good = call.runtime.cudaMemcpyAsync, call.runtime.cudaStreamWaitEvent, call.good
        kinds = call.runtime.cudaMemcpyKind
        self._in, self._out = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        self._within = kinds.cudaMemcpyDeviceToDevice
        self.raw = call("cudaStreamCreateWithFlags", call.runtime.cudaStreamNonBlocking)
        self.handle = int(self.raw)

    def synchronize(self) -> None:
        self._call("cudaStreamSynchronize", self.raw)

    def wait(self, event: _Event) -> None:
        status = self._wait(self.raw, event.handle, 0)[0]
        if status != self._good:
            raise self._call.error("cudaStreamWaitEvent", status)

    def copy_in(self, target: int, source: cuda.HostBytes) -> None:
        self._copied(self._copy(target, source.address, source.array.nbytes, self._in, self.raw))

    def copy_out(self, target: cuda.HostBytes, source: int) -> None:
        self._copied(self._copy(target.address, source, target.array.nbytes, self._out, self.raw))

    def copy_within(self, target: int, source: int, size: int) -> None:
        self._copied(self._copy(target, source, size, self._within, self.raw))

    def _copied(self, result: Any) -> None:
        if result[0] != self._good:
            raise self._call.error("cudaMemcpyAsync", result[0])

    def capture(self, work: Callable[[], None]) -> cuda_driver.Graph:
        return cuda_driver.Graph(self.handle, work)

    def close(self) -> None:
        if self.handle:
            self._call("cudaStreamDestroy", self.raw)
            self.handle = 0


class _Script(cuda.Script):
    """See ``cuda.Script``: the runtime's functions themselves."""

    def __init__(self, call: _Calls) -> None:
        super().__init__()
        self._call, self._good, self._kinds = call, call.good, call.runtime.cudaMemcpyKind

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        def good() -> tuple[Any]:
            function(*arguments)
            return (self._good,)

        self._steps.append((good, ()))

    def record(self, event: Any, stream: Any) -> None:
        self._steps.append((self._call.runtime.cudaEventRecord, (event.handle, stream.raw)))

    def wait(self, stream: Any, event: Any) -> None:
        self._steps.append((self._call.runtime.cudaStreamWaitEvent, (stream.raw, event.handle, 0)))

    def copy_in(self, stream: Any, target: int, source: cuda.HostBytes) -> None:
        self._copy(target, source.address, source, self._kinds.cudaMemcpyHostToDevice, stream)

    def copy_out(self, stream: Any, target: cuda.HostBytes, source: int) -> None:
        self._copy(target.address, source, target, self._kinds.cudaMemcpyDeviceToHost, stream)

    def run(self) -> None:
        for function, arguments in self._steps:
            status = function(*arguments)[0]
            if status != self._good:
                raise self._call.error(function.__name__, status)

    def _copy(self, target: int, source: int, host: cuda.HostBytes, kind: Any, stream: Any) -> None:
        copy = self._call.runtime.cudaMemcpyAsync
        self._steps.append((copy, (target, source, host.array.nbytes, kind, stream.raw)))


class _Device:
    """See ``cuda.Device``."""

    api = "cuda"

    def __init__(self, runtime: Any, driver: Any, gpu: Gpu) -> None:
        self._call, self._driver = _Calls(runtime), driver
        self.gpu = gpu
        self._call("cudaSetDevice", gpu.index)
        self._call("cudaFree", 0)  # creates the context now, so that its cost falls in no measurement
        self._context = cuda_driver.current_context()

    def current(self) -> AbstractContextManager[None]:
        if cuda_driver.current_context() != self._context:
            self._call("cudaSetDevice", self.gpu.index)
        return contextlib.nullcontext()

    def memory_info(self) -> tuple[int, int]:
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def memory(self, size: int) -> _Memory:
        return _Memory(self._call, size)

    def pinned(self, size: int) -> _Pinned:
        return _Pinned(self._call, size)

    def register(self, array: NDArray[np.uint8]) -> _Registered:
        return _Registered(self._call, array)

    def module(self, ptx: bytes) -> _Module:
        return _Module(self._driver, ptx)

    def stream(self) -> _Stream:
        return _Stream(self._call)

    def event(self, *, spin: bool = True) -> _Event:
        return _Event(self._call, spin)

    def script(self) -> cuda.Script:
        return _Script(self._call)

    def spans(self, pairs: Sequence[tuple[_Event, _Event]]) -> Callable[[], list[float]]:
        elapsed, good = self._call.runtime.cudaEventElapsedTime, self._call.good
        handles = [(start.handle, end.handle) for start, end in pairs]

        def read() -> list[float]:
            found = []
            for start, end in handles:
                status, milliseconds = elapsed(start, end)
                if status != good:
                    raise self._call.error("cudaEventElapsedTime", status)
                found.append(milliseconds)
            return found

        return read

    def synchronize(self) -> None:
        self._call("cudaDeviceSynchronize")

    def close(self) -> None:
        """Nothing to give back: the runtime API shares the primary context with everybody."""
