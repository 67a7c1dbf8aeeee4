"""One query on the GPU: a context with the device's side of its tensors."""

from __future__ import annotations

import contextlib

import numpy as np

from trtconv.adapters import tensorrt
from trtconv.adapters.cuda import Graph, Stream
from trtconv.adapters.tensorrt_api import TrtIExecutionContext
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.engines.build import profiles
from trtconv.engines.plan import dtypes
from trtconv.engines.run import input_checks
from trtconv.engines.run.device_memory import Growing
from trtconv.engines.run.engine import Engine
from trtconv.engines.run.host_buffers import Form, Tray

_CHANGES = 64  # TensorRT-RTX keeps 0.1 MB of host memory for each, as long as the context lives


class Slot:
    """A context, and device memory for every tensor. Used by one thread at a time.

    Args:
        engine: the model.
        general: whether one set of kernels serves all shapes (see ``Engine.context``).

    Attributes:
        form: what it is ready for.
        outputs: shapes, where they are known before a run.
    """

    def __init__(self, engine: Engine, *, general: bool = False) -> None:
        self.engine = engine
        self._changes = 0
        self.form: Form = ()
        self._context: TrtIExecutionContext | None
        self._context, self._config = engine.context(general=general)
        self._dtypes = {info.name: dtypes.numpy_type(info.dtype) for info in (*engine.inputs, *engine.outputs)}
        self._memory: dict[str, Growing] = {}
        self._host: dict[str, np.ndarray] = {}  # tensors that TensorRT wants there
        self.outputs: dict[str, tuple[int, ...]] = {}
        self._found: dict[str, _Found] = {}  # outputs whose shapes only the data decide
        self._profile = 0
        self._graph: Graph | None = None
        self._copies: tuple[Tray, int] | None = None  # whose copies are in the graph too
        self._stream: Stream | None = None

    @property
    def replays(self) -> bool:
        """Whether runs come from a CUDA graph."""
        return self._graph is not None

    @property
    def worn(self) -> bool:
        """Whether it has changed so often that a new one should take its place."""
        return self._changes > _CHANGES

    def fit(self, tray: Tray, stream: Stream) -> bool:
        """Make the slot ready for a tray's inputs, and the tray for its outputs; nothing may be running on the slot.

        Returns:
            Whether anything changed.

        Raises:
            UsageError: outside every profile.
            EnvironmentProblem: out of memory.
        """
        form = tray.form()
        fresh = form != self.form
        if fresh:
            with self.engine.one_at_a_time:
                self._reshape(form, tray, stream)
        tray.lay(self.outputs)
        return fresh

    def copy_in(self, tray: Tray, stream: Stream) -> None:
        """Enqueue the copies of all inputs to where the context reads them."""
        for info in self.engine.inputs:
            if info.name not in self._memory:
                continue
            address = self._memory[info.name].address
            if (made := tray.made.get(info.name)) is not None:
                stream.wait(made.made())
                stream.copy_within(address, made.address, made.nbytes)
            elif tray.arrays[info.name].nbytes:
                stream.copy_in(address, tray.bytes_of(info.name))

    def compute(self, stream: Stream) -> None:
        """Enqueue one run, or the replay of its graph."""
        self._stream = stream
        if self._graph is not None and self._copies is None:
            self._graph.launch(stream)
        else:
            self._enqueue(stream)

    def copy_out(self, tray: Tray, stream: Stream) -> None:
        """Enqueue the copies of all outputs to the host; waits for the run where only that tells their shapes."""
        if self._found and self._stream is not None:
            self._stream.synchronize()
            tray.lay({name: found.shape for name, found in self._found.items()})
        for info in self.engine.outputs:
            if info.name in self._host:
                np.copyto(tray.arrays[info.name], self._host[info.name])
            elif tray.arrays[info.name].nbytes:
                stream.copy_out(tray.bytes_of(info.name), self._memory[info.name].address)

    def capture(self, tray: Tray | None = None) -> str:
        """Replay further runs from a CUDA graph; at least one run was made for this form, and none is under way.

        Args:
            tray: whose copies become part of the graph: ``replay`` then makes the whole query.

        Returns:
            Why that cannot be; empty when it can.
        """
        if self._found:
            return "the data decide the shape of an output"
        if tray is not None and (self._host or tray.made):
            tray = None

        def work() -> None:
            if tray is not None:
                self.copy_in(tray, stream)
            self._enqueue(stream)
            if tray is not None:
                self.copy_out(tray, stream)

        # A stream of its own: other threads may be at work on the ones that runs use.
        with self.engine.one_at_a_time, contextlib.closing(self.engine.device.stream()) as stream:
            self._drop_graph()
            try:
                self._graph = stream.capture(work)
            except EnvironmentProblem as problem:
                return f"this engine cannot be captured: {problem.message}"
        self._copies = None if tray is None else (tray, tray.moves)
        return ""

    def replay(self, tray: Tray, stream: Stream) -> bool:
        """Enqueue the whole query with its copies, if its graph has them and the tray is where it was then."""
        if self._graph is None or self._copies != (tray, tray.moves):
            return False
        self._graph.launch(stream)
        return True

    @property
    def context(self) -> TrtIExecutionContext:
        """TensorRT's own object."""
        assert self._context is not None, "the slot is closed"
        return self._context

    def close(self) -> None:
        """Free everything; nothing may be running."""
        with self.engine.one_at_a_time:
            self._drop_graph()
            self._context = None
            while self._memory:
                self._memory.popitem()[1].close()

    def _enqueue(self, stream: Stream) -> None:
        with self.engine.one_at_a_time:
            if not self.context.execute_async_v3(stream.handle):
                raise self.engine.failure("the run cannot be enqueued")

    def _reshape(self, form: Form, tray: Tray, stream: Stream) -> None:
        self.form = ()  # until it is done: a failure on the way leaves no half-made slot
        self._changes += 1
        self._drop_graph()
        self._choose_profile({name: shape for name, shape, _ in form}, tray, stream)
        for name, shape, _ in form:
            self._place(name, shape)
            if name in self._host:  # its values decide shapes
                np.copyto(self._host[name], tray.arrays[name])
            if not self.context.set_input_shape(name, shape):
                raise self.engine.failure(f"input {name!r} cannot have shape {list(shape)}")
        self.outputs = {}
        for info in self.engine.outputs:
            self._place_output(info.name, self._output_shape(info.name, form, tray))
        self.form = form

    def _choose_profile(self, shapes: dict[str, tuple[int, ...]], tray: Tray, stream: Stream) -> None:
        values = self.engine.values
        wanted = profiles.choose(self.engine.profiles, shapes, values, input_checks.held(tray.arrays, values))
        if wanted != self._profile:
            if not self.context.set_optimization_profile_async(wanted, stream.handle):
                raise self.engine.failure(f"profile {wanted} cannot be chosen")
            stream.synchronize()
            self._profile = wanted

    def _output_shape(self, name: str, form: Form, tray: Tray) -> tuple[int, ...]:
        try:
            return tuple(self.context.get_tensor_shape(name))
        except ValueError:  # the bindings' word for a shape that TensorRT cannot find
            held = input_checks.held(tray.arrays, self.engine.values)
            given = ", ".join(
                f"{each} of shape {list(shape)}" + (f" that holds {list(held[each])}" if each in held else "")
                for each, shape, _ in form
            )
            problem = self.engine.failure(f"output {name!r} has no shape with {given}")
            raise UsageError(problem.message, hint="give shapes and values that go together") from None

    def _place_output(self, name: str, shape: tuple[int, ...]) -> None:
        if all(dim >= 0 for dim in shape):
            self.outputs[name] = shape
            self._place(name, shape)
        elif name not in self._found:
            self._found[name] = found = _Found(self._growing(name))
            allocator = tensorrt.output_allocator(self.engine.loaded.api, found.resize, found.told)
            if not self.context.set_output_allocator(name, allocator):
                raise self.engine.failure(f"output {name!r} takes no allocator")

    def _place(self, name: str, shape: tuple[int, ...]) -> None:
        """Give a tensor its memory: on the device, or on the host where TensorRT wants it there."""
        if name in self.engine.on_host:
            if name not in self._host or self._host[name].shape != shape:
                self._host[name] = np.empty(shape, self._dtypes[name])
            address = int(self._host[name].ctypes.data)
        else:
            size = int(np.prod(shape, dtype=np.int64)) * self._dtypes[name].itemsize
            address = self._growing(name).resize(size)
        self.context.set_tensor_address(name, address)

    def _growing(self, name: str) -> Growing:
        return self._memory.setdefault(name, Growing(self.engine.device))

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
        self._graph = self._copies = None


class _Found:
    """An output whose shape is known when it is computed. TensorRT calls in here: nothing may be raised."""

    def __init__(self, memory: Growing) -> None:
        self.memory = memory
        self.shape: tuple[int, ...] = ()

    def resize(self, size: int) -> int:
        try:
            return self.memory.resize(size)
        except EnvironmentProblem:  # out of memory: a null address makes the run fail, which is told
            return 0

    def told(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
