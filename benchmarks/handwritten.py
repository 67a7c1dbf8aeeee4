"""The shortest loops that run an engine at full speed, straight on TensorRT-RTX and CUDA: bench is held to them."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.adapters import tensorrt


class Loop:
    """An engine with one input ``x`` and one output ``y``; every query has a context and buffers of its own.

    Args:
        path: the plan.
        x: one batch.
        copies: whether every query copies in and out, on streams of their own.
        graph: whether TensorRT-RTX replays a CUDA graph.
        queries: in flight.
        spin: whether waiting keeps the processor; where there are copies it sleeps otherwise.
    """

    def __init__(
        self, path: Path, x: np.ndarray, *, copies: bool, graph: bool, queries: int = 2, spin: bool = False
    ) -> None:
        from cuda.bindings import runtime

        self.cuda, self.copies, self.graph, self.spin = runtime, copies, graph, spin
        self.api: Any = tensorrt.load("rtx").api
        self.engine = self.api.Runtime(self.api.Logger(self.api.Logger.ERROR)).deserialize_cuda_engine(
            path.read_bytes()
        )
        kernels = path.with_name(path.name + ".kernels")
        self.kernels = kernels.read_bytes() if kernels.exists() else b""
        self.streams = [self._(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)) for _ in range(3)]
        self.queries = [_Query(self, x) for _ in range(queries)]

    def _(self, answer: tuple[Any, ...]) -> Any:
        assert not answer[0].value, answer[0]
        return answer[1] if len(answer) == 2 else answer[1:]

    def rate(self, seconds: float) -> float:
        """Samples per second by the host's clock, over at least ``seconds``."""
        for query in self.queries * 2:
            query.start()
            query.wait()
        done, begin = 0, time.perf_counter()
        for query in self.queries:
            query.start()
        while (now := time.perf_counter() - begin) < seconds or not done:
            query = self.queries[done % len(self.queries)]
            query.wait()
            query.start()
            done += 1
        for query in self.queries:
            query.wait()
        return done * self.queries[0].batch / now


class _Query:
    def __init__(self, loop: Loop, x: np.ndarray) -> None:
        cuda, self.loop, self.batch = loop.cuda, loop, len(x)
        config = loop.engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = loop.api.DynamicShapesKernelSpecializationStrategy.EAGER
        if loop.kernels:  # compiled before: a turn begins seconds earlier
            self.cache = config.create_runtime_cache()
            self.cache.deserialize(loop.kernels)
            config.set_runtime_cache(self.cache)
        if loop.graph:
            config.cuda_graph_strategy = loop.api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self.context = loop.engine.create_execution_context(config)
        self.context.set_input_shape("x", x.shape)
        self.sizes = x.nbytes, int(np.prod(self.context.get_tensor_shape("y"))) * 4
        self.host = [loop._(cuda.cudaMallocHost(size)) for size in self.sizes]
        self.device = [loop._(cuda.cudaMalloc(size)) for size in self.sizes]
        for name, address in zip("xy", self.device, strict=True):
            self.context.set_tensor_address(name, int(address))
        ctypes.memmove(int(self.host[0]), x.ctypes.data, x.nbytes)
        cuda.cudaMemcpy(self.device[0], self.host[0], x.nbytes, cuda.cudaMemcpyKind.cudaMemcpyHostToDevice)
        sleeps = loop.copies and not loop.spin
        flags = cuda.cudaEventDisableTiming | (cuda.cudaEventBlockingSync if sleeps else 0)
        self.events = [loop._(cuda.cudaEventCreateWithFlags(flags)) for _ in range(3)]

    def start(self) -> None:
        cuda, (into, compute, out) = self.loop.cuda, self.loop.streams
        if not self.loop.copies:
            self.context.execute_async_v3(int(compute))
            cuda.cudaEventRecord(self.events[2], compute)
            return
        kinds = cuda.cudaMemcpyKind
        cuda.cudaMemcpyAsync(self.device[0], self.host[0], self.sizes[0], kinds.cudaMemcpyHostToDevice, into)
        cuda.cudaEventRecord(self.events[0], into)
        cuda.cudaStreamWaitEvent(compute, self.events[0], 0)
        self.context.execute_async_v3(int(compute))
        cuda.cudaEventRecord(self.events[1], compute)
        cuda.cudaStreamWaitEvent(out, self.events[1], 0)
        cuda.cudaMemcpyAsync(self.host[1], self.device[1], self.sizes[1], kinds.cudaMemcpyDeviceToHost, out)
        cuda.cudaEventRecord(self.events[2], out)

    def wait(self) -> None:
        self.loop.cuda.cudaEventSynchronize(self.events[2])


@contextmanager
def opened(path: Path, x: np.ndarray, **options: Any) -> Iterator[Loop]:
    """A loop that frees its GPU memory in the end."""
    loop = Loop(path, x, **options)
    yield loop
    for query in loop.queries:
        for address in query.device:
            loop.cuda.cudaFree(address)
        for address in query.host:
            loop.cuda.cudaFreeHost(address)
    loop.queries.clear()
