"""Both doors to the GPU: the same behaviour, on the same primary context."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from trtconv.adapters import cuda
from trtconv.adapters.cuda import Device
from trtconv.core import versions
from trtconv.core.errors import EnvironmentProblem

pytestmark = pytest.mark.gpu
SIZE = 1 << 22


@pytest.fixture(params=list(cuda.APIS))
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    if not versions.of([cuda.APIS[request.param][1]]):
        pytest.skip(f"{cuda.APIS[request.param][1]} is not installed")
    opened = cuda.open_device(request.param)
    yield opened
    opened.close()


def round_trip(device: Device) -> bool:
    """Bytes to the device and back."""
    there, back = device.pinned(SIZE), device.pinned(SIZE)
    memory, stream = device.memory(SIZE), device.stream()
    there.array[:] = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    stream.copy_in(memory.address, there)
    stream.copy_out(back, memory.address)
    stream.synchronize()
    same = np.array_equal(there.array, back.array)
    for part in (there, back, memory, stream):
        part.close()
    return same


def test_bytes_survive(device: Device) -> None:
    assert round_trip(device)


def test_worker_threads(device: Device) -> None:
    results: list[bool] = []

    def work() -> None:
        with device.current():
            results.append(round_trip(device))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_memory_comes_back(device: Device) -> None:
    before = device.memory_info()[0]
    memory = device.memory(1 << 30)
    assert memory.address % 256 == 0
    assert before - device.memory_info()[0] >= 1 << 30
    memory.close()
    memory.close()
    assert abs(device.memory_info()[0] - before) < 64 << 20


def test_too_much_memory(device: Device) -> None:
    with pytest.raises(EnvironmentProblem, match=r"out of GPU memory: .* needed, .* free"):
        device.memory(1 << 44)
    assert round_trip(device)  # the failure leaves nothing behind


@pytest.mark.parametrize("spin", [True, False])
def test_events_time_a_copy(device: Device, spin: bool) -> None:
    host, memory, stream = device.pinned(64 << 20), device.memory(64 << 20), device.stream()
    start, end = device.event(spin=spin), device.event(spin=spin)
    began = time.perf_counter()
    start.record(stream)
    stream.copy_in(memory.address, host)
    end.record(stream)
    end.synchronize()
    passed = (time.perf_counter() - began) * 1e3
    assert 0.1 < end.since(start) < passed + 1
    for part in (start, end, host, memory, stream):
        part.close()


def test_streams_wait_for_events(device: Device) -> None:
    host, back, memory = device.pinned(SIZE), device.pinned(SIZE), device.memory(SIZE)
    first, second, copied = device.stream(), device.stream(), device.event()
    host.array[:] = 7
    first.copy_in(memory.address, host)
    copied.record(first)
    second.wait(copied)
    second.copy_out(back, memory.address)
    second.synchronize()
    assert (back.array == 7).all()
    for part in (host, back, memory, first, second, copied):
        part.close()


def test_graphs_replay(device: Device) -> None:
    host, back, memory, stream = device.pinned(SIZE), device.pinned(SIZE), device.memory(SIZE), device.stream()

    def work() -> None:
        stream.copy_in(memory.address, host)
        stream.copy_out(back, memory.address)

    graph = stream.capture(work)
    for value in (3, 9):
        host.array[:] = value
        graph.launch(stream)
        stream.synchronize()
        assert (back.array == value).all()
    graph.close()
    for part in (host, back, memory, stream):
        part.close()


def test_memory_that_is_there_can_be_locked_and_copied_on(device: Device) -> None:
    source, back = np.frombuffer(mmap.mmap(-1, SIZE), np.uint8), device.pinned(SIZE)
    source[:] = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    one, other, stream = device.memory(SIZE), device.memory(SIZE), device.stream()
    for _ in range(2):  # unlocked, it can be locked again
        locked = device.register(source)
        stream.copy_in(one.address, cuda.HostSlice(source.ctypes.data, source))
        stream.copy_within(other.address, one.address, SIZE)
        stream.copy_out(back, other.address)
        stream.synchronize()
        assert np.array_equal(back.array, source)
        locked.close()
        locked.close()
    for part in (back, one, other, stream):
        part.close()


def test_what_is_no_ptx_is_refused(device: Device) -> None:
    with pytest.raises(EnvironmentProblem, match=r"cuModuleLoad|cannot compile"):
        device.module(b"nonsense")
    assert round_trip(device)


def test_both_apis_share_the_context() -> None:
    """Memory of one is good in the other: both live on the primary context."""
    missing = [name for _, name in cuda.APIS.values() if not versions.of([name])]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    one, other = cuda.open_device("cuda"), cuda.open_device("pycuda")
    host, back, memory = one.pinned(SIZE), other.pinned(SIZE), one.memory(SIZE)
    stream, second = one.stream(), other.stream()
    host.array[:] = 5
    stream.copy_in(memory.address, host)
    stream.synchronize()
    second.copy_out(back, memory.address)
    second.synchronize()
    assert (back.array == 5).all()
    for part in (host, back, memory, stream, second):
        part.close()
    other.close()
    one.close()
