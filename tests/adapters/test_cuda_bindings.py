"""Calls that are written down once, on a runtime that notes what it is asked for; the real one has tests/gpu."""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trtconv.adapters import cuda, cuda_bindings
from trtconv.adapters.cuda_driver import Gpu
from trtconv.core.errors import EnvironmentProblem

Status = enum.IntEnum(
    "Status",
    {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2, "cudaErrorInsufficientDriver": 35, "cudaErrorNotReady": 600},
)
CONSTANTS = {
    "cudaError_t": Status,
    "cudaMemcpyKind": SimpleNamespace(
        cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out", cudaMemcpyDeviceToDevice="within"
    ),
    "cudaStreamNonBlocking": 1,
    "cudaEventBlockingSync": 1,
}


class Runtime:
    """Every function succeeds, but for ``failing``; ``said`` holds the calls of the last script."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.failing = ""
        self.handles = iter(range(100, 200))

    def __getattr__(self, name: str) -> Any:
        if name in CONSTANTS:
            return CONSTANTS[name]
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def function(*arguments: Any) -> tuple[Any, ...]:
            self.said.append((name.removeprefix("cuda"), *arguments))
            status = Status.cudaErrorNotReady if name == self.failing else Status.cudaSuccess
            if name == "cudaGetErrorString":
                return Status.cudaSuccess, b"not ready"
            if name == "cudaEventElapsedTime":
                return status, arguments[1] - arguments[0]
            return (status, next(self.handles)) if "Create" in name else (status,)

        function.__name__ = name
        return function


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setattr(cuda_bindings.cuda_driver, "current_context", lambda: 0)
    return Runtime()


@pytest.fixture
def device(runtime: Runtime) -> Any:
    return cuda_bindings._Device(runtime, None, Gpu(0, "", (9, 0), 0, False))


def test_a_script_makes_its_calls_in_their_order(runtime: Runtime, device: Any) -> None:
    script, stream, event = device.script(), device.stream(), device.event()
    host = cuda.HostSlice(7, np.zeros(5, np.uint8))
    met: list[str] = []
    script.record(event, stream)
    script.copy_in(stream, 9, host)
    script.call(met.append, "between")
    script.wait(stream, event)
    script.copy_out(stream, host, 11)
    runtime.said.clear()
    for _ in range(2):
        script.run()
    assert runtime.said == 2 * [
        ("EventRecord", event.handle, stream.raw),
        ("MemcpyAsync", 9, 7, 5, "in", stream.raw),
        ("StreamWaitEvent", stream.raw, event.handle, 0),
        ("MemcpyAsync", 7, 11, 5, "out", stream.raw),
    ]
    assert met == ["between"] * 2


def test_a_script_ends_at_the_call_that_fails_and_names_it(runtime: Runtime, device: Any) -> None:
    script, stream, event = device.script(), device.stream(), device.event()
    script.wait(stream, event)
    script.record(event, stream)
    runtime.failing = "cudaStreamWaitEvent"
    runtime.said.clear()
    with pytest.raises(EnvironmentProblem, match=r"cudaStreamWaitEvent failed: cudaErrorNotReady: not ready"):
        script.run()
    assert [name for name, *_ in runtime.said] == ["StreamWaitEvent", "GetErrorString"]


def test_spans_are_what_since_says(runtime: Runtime, device: Any) -> None:
    one, two, three = (device.event() for _ in range(3))
    assert device.spans([(one, two), (one, three)])() == [two.since(one), three.since(one)] == [1, 2]
    runtime.failing = "cudaEventElapsedTime"
    with pytest.raises(EnvironmentProblem, match="cudaEventElapsedTime failed"):
        device.spans([(one, two)])()


@pytest.mark.parametrize("call", ["record", "synchronize", "wait", "copy_in", "copy_out", "since"])
def test_calls_one_by_one_fail_likewise(runtime: Runtime, device: Any, call: str) -> None:
    stream, event, host = device.stream(), device.event(), cuda.HostSlice(7, np.zeros(5, np.uint8))
    calls = {
        "record": ("cudaEventRecord", lambda: event.record(stream)),
        "synchronize": ("cudaEventSynchronize", event.synchronize),
        "since": ("cudaEventElapsedTime", lambda: event.since(event)),
        "wait": ("cudaStreamWaitEvent", lambda: stream.wait(event)),
        "copy_in": ("cudaMemcpyAsync", lambda: stream.copy_in(9, host)),
        "copy_out": ("cudaMemcpyAsync", lambda: stream.copy_out(host, 9)),
    }
    name, work = calls[call]
    work()
    runtime.failing = name
    with pytest.raises(EnvironmentProblem, match=f"{name} failed: cudaErrorNotReady"):
        work()
