"""One query on the GPU: a context with its buffers, in device memory and in pinned host memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trtconv.adapters.cuda import Device, Graph, Memory, Pinned, Stream
from trtconv.adapters.tensorrt_api import TrtIExecutionContext
from trtconv.backends import dtypes, profiles
from trtconv.backends.engine import Engine
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.records import TensorInfo

Shapes = Mapping[str, tuple[int, ...]]


class Slot:
    """A context, and for every tensor a buffer on the device and one on the host. Used by one thread at a time.

    Attributes:
        host: the host side of every tensor, in its type and present shape; valid until the next ``reshape``.
        replays: whether runs come from a CUDA graph.
    """

    def __init__(self, engine: Engine, *, graph: bool = False) -> None:
        self.engine = engine
        self.host: dict[str, np.ndarray] = {}
        self._builtin = graph and engine.loaded.can.jit
        self.replays = self._builtin
        self._context: TrtIExecutionContext | None = engine.context(graph=graph)
        self._buffers = {info.name: _Buffer(engine.device, info, info.name in engine.on_host)
                         for info in (*engine.inputs, *engine.outputs)}  # fmt: skip
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._profile = 0
        self._graph: Graph | None = None

    def reshape(self, shapes: Shapes, stream: Stream) -> bool:
        """Make the slot ready for inputs of these shapes; nothing may be running on it.

        Returns:
            Whether anything changed.

        Raises:
            UsageError: outside every profile.
            EnvironmentProblem: out of memory, or an output whose size only the data decide.
        """
        if shapes == self._shapes:
            return False
        with self.engine.one_at_a_time:
            self._reshape(shapes, stream)
        return True

    def _reshape(self, shapes: Shapes, stream: Stream) -> None:
        self._shapes = {}  # until it is done: a failure on the way leaves no half-made slot
        self._drop_graph()
        self._choose_profile(shapes, stream)
        for name, shape in shapes.items():
            self._place(name, shape)
            if not self.context.set_input_shape(name, shape):
                raise self.engine.failure(f"input {name!r} cannot have shape {list(shape)}")
        for info in self.engine.outputs:
            self._place(info.name, self._output_shape(info.name))
        self._shapes = dict(shapes)

    def fill(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copy inputs to the host side."""
        for name, array in feeds.items():
            np.copyto(self.host[name], array)

    def copy_in(self, stream: Stream) -> None:
        """Enqueue the copies of all inputs to the device."""
        for info in self.engine.inputs:
            self._buffers[info.name].copy_in(stream)

    def compute(self, stream: Stream) -> None:
        """Enqueue one run, or the replay of its graph."""
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self._enqueue(stream)

    def copy_out(self, stream: Stream) -> None:
        """Enqueue the copies of all outputs to the host."""
        for info in self.engine.outputs:
            self._buffers[info.name].copy_out(stream)

    def outputs(self) -> dict[str, np.ndarray]:
        """Copies of the outputs on the host side; after everything enqueued is done."""
        return {info.name: self.host[info.name].copy() for info in self.engine.outputs}

    def capture(self, stream: Stream) -> str:
        """Replay further runs from a CUDA graph; nothing may be running.

        Returns:
            Why that cannot be; empty when it can.
        """
        if self._builtin:
            return ""
        if not self.engine.device.captures:
            return f"device_api {self.engine.device.api} cannot capture CUDA graphs; choose cuda"
        try:
            self._graph = stream.capture(lambda: self._enqueue(stream))
        except EnvironmentProblem as problem:
            return f"this engine cannot be captured: {problem.message}"
        self.replays = True
        return ""

    @property
    def context(self) -> TrtIExecutionContext:
        """TensorRT's own object."""
        assert self._context is not None, "the slot is closed"
        return self._context

    def close(self) -> None:
        """Free everything; nothing may be running."""
        self._drop_graph()
        self._context = None
        self.host = {}
        for buffer in self._buffers.values():
            buffer.close()

    def _enqueue(self, stream: Stream) -> None:
        with self.engine.one_at_a_time:
            if not self.context.execute_async_v3(stream.handle):
                raise self.engine.failure("the run cannot be enqueued")

    def _choose_profile(self, shapes: Shapes, stream: Stream) -> None:
        wanted = profiles.choose(self.engine.profiles, shapes)
        if wanted != self._profile:
            if not self.context.set_optimization_profile_async(wanted, stream.handle):
                raise self.engine.failure(f"profile {wanted} cannot be chosen")
            stream.synchronize()
            self._profile = wanted

    def _output_shape(self, name: str) -> tuple[int, ...]:
        shape = tuple(self.context.get_tensor_shape(name))
        if any(dim < 0 for dim in shape):
            raise EnvironmentProblem(
                f"{self.engine.path}: the shape of output {name!r} depends on the data",
                hint="cut the model before the operator that decides it: convert: {outputs: [...]}",
            )
        return shape

    def _place(self, name: str, shape: Sequence[int]) -> None:
        buffer = self._buffers[name]
        self.host[name] = buffer.resize(tuple(shape))
        self.context.set_tensor_address(name, buffer.address)

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None
            self.replays = self._builtin


class _Buffer:
    """Both sides of one tensor; grows, never shrinks. A tensor that TensorRT wants on the host has no device side."""

    def __init__(self, device: Device, info: TensorInfo, on_host: bool) -> None:
        self._device, self._on_host = device, on_host
        self._dtype = dtypes.numpy_type(info.dtype)
        self._pinned: Pinned | None = None
        self._memory: Memory | None = None
        self._size = 0

    @property
    def address(self) -> int:
        if self._on_host:
            assert self._pinned is not None
            return self._pinned.address
        assert self._memory is not None
        return self._memory.address

    def resize(self, shape: tuple[int, ...]) -> np.ndarray:
        self._size = int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        if self._pinned is None or self._pinned.array.nbytes < self._size:
            self.close()
            self._pinned = self._device.pinned(max(self._size, 1))
            self._memory = None if self._on_host else self._device.memory(max(self._size, 1))
        return self._pinned.array[: self._size].view(self._dtype).reshape(shape)

    def copy_in(self, stream: Stream) -> None:
        if self._memory is not None and self._pinned is not None and self._size:
            stream.copy_in(self._memory.address, self._pinned.array[: self._size])

    def copy_out(self, stream: Stream) -> None:
        if self._memory is not None and self._pinned is not None and self._size:
            stream.copy_out(self._pinned.array[: self._size], self._memory.address)

    def close(self) -> None:
        for part in (self._memory, self._pinned):
            if part is not None:
                part.close()
        self._memory = self._pinned = None
