"""One query of one engine: a context with the device's side of its tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trtconv.adapters import tensorrt
from trtconv.adapters.cuda import Stream
from trtconv.adapters.tensorrt_api import TrtIExecutionContext
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.engines.build import profiles
from trtconv.engines.plan import dtypes
from trtconv.engines.run import input_checks
from trtconv.engines.run.device_memory import Growing
from trtconv.engines.run.engine import Engine
from trtconv.engines.run.host_buffers import Form, Tray
from trtconv.engines.run.replays import Copies, Execution, copy_input, form_of

_HELD = 16 << 20  # bytes of host memory that a context may hold of shapes it had
_PER_LAYER = 1024  # bytes of it for each change of its shapes, at most (docs/runtime.md)


class Slot(Execution):
    """A context, and device memory for every tensor. Used by one thread at a time.

    Args:
        engine: the model.
        general: whether one set of kernels serves all shapes (see ``Engine.context``).
        lasting: whether it will have one shape for long (likewise).
    """

    def __init__(self, engine: Engine, *, general: bool = False, lasting: bool = False) -> None:
        super().__init__(engine)
        self.engine = engine
        self._changes = 0
        self._context: TrtIExecutionContext | None
        self._kept: object
        self._context, self._kept = engine.context(general=general, lasting=lasting)
        self._dtypes = {info.name: dtypes.numpy_type(info.dtype) for info in (*engine.inputs, *engine.outputs)}
        self._memory: dict[str, Growing] = {}
        self._given: dict[str, int] = {}  # inputs that lie on the device already, at these addresses
        self.host: dict[str, np.ndarray] = {}
        """Tensors that TensorRT wants on the host."""
        self._found: dict[str, _Found] = {}  # outputs whose shapes only the data decide
        self._profile = 0

    @property
    def worn(self) -> bool:
        """See ``Execution.worn``."""
        return self._changes * self.engine.layers * _PER_LAYER > _HELD

    @property
    def obstacle(self) -> str:
        """See ``Execution.obstacle``."""
        if self.engine.weights is not None and self.engine.weights.streams:
            return "weights come from host memory during the run"
        return "the data decide the shape of an output" if self._found else ""

    @property
    def contexts(self) -> dict[str, TrtIExecutionContext]:
        """See ``Execution.contexts``."""
        return {"": self.context}

    @property
    def copies_alone(self) -> bool:
        """See ``Execution.copies_alone``."""
        return not self.host

    def fit(self, tray: Tray, stream: Stream) -> bool:
        """See ``Execution.fit``."""
        form = tray.form()
        fresh = form != self.form
        if fresh:
            with self.engine.one_at_a_time:
                self._reshape(form, tray.arrays, stream)
        tray.lay(self.outputs)
        return fresh

    def settle(
        self,
        shapes: dict[str, tuple[int, ...]],
        values: dict[str, np.ndarray],
        given: Mapping[str, int],
        stream: Stream,
    ) -> bool:
        """The same for inputs that others laid out.

        Args:
            shapes: of all inputs.
            values: what those hold that TensorRT wants on the host, or that decide shapes.
            given: device addresses of all others; they stay where they are while it runs.
            stream: that it will run on.

        Returns:
            Whether anything changed.

        Raises:
            UsageError: outside every profile.
            EnvironmentProblem: out of memory, or an output whose shape only the data decide.
        """
        form = form_of(self.engine, shapes, values)
        if form == self.form and given == self._given:
            return False
        with self.engine.one_at_a_time:
            self._given = dict(given)
            if form == self.form:
                self.drop_graph()
                for name, address in given.items():
                    self.context.set_tensor_address(name, address)
            else:
                self._reshape(form, values, stream)
        if self._found:
            raise EnvironmentProblem(
                f"{self.engine.path}: the data decide the shape of output {next(iter(self._found))!r}",
                hint="build the parts again with this trtconv",
            )
        return True

    def address(self, name: str) -> int:
        """Where an output is on the device."""
        return self._memory[name].address

    def copy_in(self, tray: Tray, stream: Stream) -> None:
        """See ``Execution.copy_in``."""
        for info in self.engine.inputs:
            if info.name in self._memory:
                copy_input(tray, info.name, self._memory[info.name].address, stream)

    def copy_out(self, tray: Tray, stream: Stream) -> None:
        """See ``Execution.copy_out``."""
        if self._found and self._stream is not None:
            self._stream.synchronize()
            tray.lay({name: found.shape for name, found in self._found.items()})
        for info in self.engine.outputs:
            if info.name in self.host:
                np.copyto(tray.arrays[info.name], self.host[info.name])
            elif tray.arrays[info.name].nbytes:
                stream.copy_out(tray.bytes_of(info.name), self._memory[info.name].address)

    def copies(self, tray: Tray) -> Copies | None:
        """See ``Execution.copies``."""
        if self.host or self._found or tray.made:
            return None
        ins, outs = (
            [
                (self._memory[info.name].address, tray.bytes_of(info.name))
                for info in infos
                if tray.arrays[info.name].nbytes
            ]
            for infos in (self.engine.inputs, self.engine.outputs)
        )
        return ins, outs

    @property
    def context(self) -> TrtIExecutionContext:
        """TensorRT's own object."""
        assert self._context is not None, "the slot is closed"
        return self._context

    def close(self) -> None:
        """See ``Execution.close``."""
        with self.engine.one_at_a_time:
            self.drop_graph()
            self._context = self._kept = None  # in this order
            while self._memory:
                self._memory.popitem()[1].close()

    def enqueue(self, stream: Stream) -> None:
        """See ``Execution.enqueue``."""
        with self.engine.one_at_a_time:
            if self._context is None or not self._context.execute_async_v3(stream.handle):
                raise self.engine.failure("the run cannot be enqueued")

    def _reshape(self, form: Form, arrays: Mapping[str, np.ndarray], stream: Stream) -> None:
        self.form = ()  # until it is done: a failure on the way leaves no half-made slot
        self._changes += 1
        self.drop_graph()
        self._choose_profile({name: shape for name, shape, _ in form}, arrays, stream)
        for name, shape, _ in form:
            self._place(name, shape)
            if name in self.host:  # its values decide shapes
                np.copyto(self.host[name], arrays[name])
            if not self.context.set_input_shape(name, shape):
                raise self.engine.failure(f"input {name!r} cannot have shape {list(shape)}")
        self.outputs = {}
        for info in self.engine.outputs:
            self._place_output(info.name, self._output_shape(info.name, form, arrays))
        self.form = form

    def _choose_profile(
        self, shapes: dict[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray], stream: Stream
    ) -> None:
        values = self.engine.values
        wanted = profiles.choose(self.engine.profiles, shapes, values, input_checks.held(arrays, values))
        if wanted != self._profile:
            if not self.context.set_optimization_profile_async(wanted, stream.handle):
                raise self.engine.failure(f"profile {wanted} cannot be chosen")
            stream.synchronize()
            self._profile = wanted

    def _output_shape(self, name: str, form: Form, arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
        try:
            return tuple(self.context.get_tensor_shape(name))
        except ValueError:  # the bindings' word for a shape that TensorRT cannot find
            held = input_checks.held(arrays, self.engine.values)
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
            if name not in self.host or self.host[name].shape != shape:
                self.host[name] = np.empty(shape, self._dtypes[name])
            address = int(self.host[name].ctypes.data)
        elif name in self._given:
            address = self._given[name]
        else:
            size = int(np.prod(shape, dtype=np.int64)) * self._dtypes[name].itemsize
            address = self._growing(name).resize(size)
        self.context.set_tensor_address(name, address)

    def _growing(self, name: str) -> Growing:
        return self._memory.setdefault(name, Growing(self.engine.device))


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
