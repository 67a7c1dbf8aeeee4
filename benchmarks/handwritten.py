"""The shortest loops that run an engine at full speed, straight on TensorRT-RTX and CUDA: bench is held to them."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from cuda.bindings import runtime

from trtconv.adapters import tensorrt


class Loop:
    """Queries of engines with one input ``x`` and one output ``y``, each with a context and buffers of its own.

    Args:
        queries: in flight.
        batch: samples of each.
        copies: whether every query copies in and out, on streams of their own.
        spin: whether waiting keeps the processor; where there are copies it sleeps otherwise.
        times: whether every query takes the six times that trtexec 10 takes.
    """

    def __init__(
        self, queries: list[Query], batch: int, *, copies: bool, spin: bool = False, times: bool = False
    ) -> None:
        self.queries, self.batch = queries, batch
        streams = [_good(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)) for _ in range(3)]
        sleeps = copies and not spin
        for query in queries:
            query.prepare(streams, copies=copies, sleeps=sleeps, times=times)

    def rate(self, seconds: float) -> float:
        """Samples per second by the host's clock, from one query's end to another's, over at least ``seconds``."""
        for query in self.queries * 2:
            query.start()
            query.wait()
        for query in self.queries:
            query.start()
        self.queries[0].wait()
        self.queries[0].start()
        done, begin = 1, time.perf_counter()
        while (now := time.perf_counter() - begin) < seconds or done == 1:
            query = self.queries[done % len(self.queries)]
            query.wait()
            query.start()
            done += 1
        for query in self.queries:
            query.wait()
        return (done - 1) * self.batch / now


class Query:
    """A context with the addresses that it reads and writes, on the host and on the device.

    Args:
        context: TensorRT's object, which has its shapes and addresses.
        host: pinned memory of ``x`` and ``y``.
        device: of both.
        sizes: of both, in bytes.
    """

    def __init__(self, context: Any, host: list[int], device: list[int], sizes: tuple[int, int]) -> None:
        self.context, self.host, self.device, self.sizes = context, host, device, sizes

    def prepare(self, streams: list[Any], *, copies: bool, sleeps: bool, times: bool) -> None:
        """Make it ready to run on these streams, for copies in, computation and copies out; see ``Loop``."""
        self.streams, self.copies, self.times = streams, copies, times
        flags = (0 if times else runtime.cudaEventDisableTiming) | (runtime.cudaEventBlockingSync if sleeps else 0)
        self.ends = [_good(runtime.cudaEventCreateWithFlags(flags)) for _ in range(3)]
        if times:
            self.starts = [_good(runtime.cudaEventCreateWithFlags(0)) for _ in range(4)]  # the last is the beginning
            _good(runtime.cudaEventRecord(self.starts[3], streams[1]))

    def start(self) -> None:
        """Enqueue it."""
        into, compute, out = self.streams
        if not self.copies:
            self.context.execute_async_v3(int(compute))
            runtime.cudaEventRecord(self.ends[2], compute)
            return
        kinds, times = runtime.cudaMemcpyKind, self.times
        if times:
            runtime.cudaEventRecord(self.starts[0], into)
        runtime.cudaMemcpyAsync(self.device[0], self.host[0], self.sizes[0], kinds.cudaMemcpyHostToDevice, into)
        runtime.cudaEventRecord(self.ends[0], into)
        runtime.cudaStreamWaitEvent(compute, self.ends[0], 0)
        if times:
            runtime.cudaEventRecord(self.starts[1], compute)
        self.context.execute_async_v3(int(compute))
        runtime.cudaEventRecord(self.ends[1], compute)
        runtime.cudaStreamWaitEvent(out, self.ends[1], 0)
        if times:
            runtime.cudaEventRecord(self.starts[2], out)
        runtime.cudaMemcpyAsync(self.host[1], self.device[1], self.sizes[1], kinds.cudaMemcpyDeviceToHost, out)
        runtime.cudaEventRecord(self.ends[2], out)

    def wait(self) -> None:
        """Until it is done."""
        runtime.cudaEventSynchronize(self.ends[2])
        if self.times:
            elapsed, begin = runtime.cudaEventElapsedTime, self.starts[3]
            self.found = [elapsed(begin, event)[1] for event in (*self.starts[:3], *self.ends)]


@contextmanager
def opened(
    path: Path, x: np.ndarray, *, copies: bool, graph: bool, queries: int = 2, spin: bool = False
) -> Iterator[Loop]:
    """A loop on contexts of its own, which frees its GPU memory in the end.

    Args:
        path: the plan.
        x: one batch.
        copies: see ``Loop``.
        graph: whether TensorRT-RTX replays a CUDA graph.
        queries: in flight.
        spin: see ``Loop``.
    """
    api: Any = tensorrt.load("rtx").api
    engine = api.Runtime(api.Logger(api.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
    kernels = path.with_name(path.name + ".kernels")
    known = kernels.read_bytes() if kernels.exists() else b""
    kept: list[Any] = []  # what contexts need
    made = []
    for _ in range(queries):
        config = engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
        if known:  # compiled before: a turn begins seconds earlier
            cache = config.create_runtime_cache()
            cache.deserialize(known)
            config.set_runtime_cache(cache)
            kept.append(cache)
        if graph:
            config.cuda_graph_strategy = api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        kept.append(config)
        made.append(_query(engine.create_execution_context(config), x))
    loop = Loop(made, len(x), copies=copies, spin=spin)
    yield loop
    for query in loop.queries:
        for address in query.device:
            runtime.cudaFree(address)
        for address in query.host:
            runtime.cudaFreeHost(address)
    made.clear()
    loop.queries.clear()  # contexts before what they need
    kept.clear()


def _query(context: Any, x: np.ndarray) -> Query:
    context.set_input_shape("x", x.shape)
    sizes = x.nbytes, int(np.prod(context.get_tensor_shape("y"))) * 4
    host = [int(_good(runtime.cudaMallocHost(size))) for size in sizes]
    device = [int(_good(runtime.cudaMalloc(size))) for size in sizes]
    for name, address in zip("xy", device, strict=True):
        context.set_tensor_address(name, address)
    ctypes.memmove(host[0], x.ctypes.data, x.nbytes)
    _good(runtime.cudaMemcpy(device[0], host[0], x.nbytes, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice))
    return Query(context, host, device, sizes)


def _good(answer: tuple[Any, ...]) -> Any:
    assert not answer[0].value, answer[0]
    return answer[1] if len(answer) == 2 else answer[1:]
