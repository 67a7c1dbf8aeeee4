"""One query of a model in parts on the GPU: tensors between engines stay there, those for the rest pass to the host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import RLock

import numpy as np

from trtconv.adapters.cuda import Device, Stream
from trtconv.adapters.tensorrt_api import TrtIExecutionContext
from trtconv.core.records import TensorInfo
from trtconv.engines.plan import dtypes
from trtconv.engines.run.device_memory import Growing
from trtconv.engines.run.engine import Engine
from trtconv.engines.run.execution import Slot
from trtconv.engines.run.host_buffers import Tray
from trtconv.engines.run.parts_engine import PartsEngine, Step
from trtconv.engines.run.replays import Execution, copy_input

Span = Callable[[str, str, Stream, int], AbstractContextManager[None]]
"""Gets the part, what is about to happen (``h2d``, ``compute``, ``d2h``, ``host``), the stream that it goes to, and the
bytes of a copy."""


@contextlib.contextmanager
def _untimed(part: str, what: str, stream: Stream, size: int) -> Iterator[None]:
    yield


@dataclass
class _Between:
    """The tensors between the parts, as a tray takes them."""

    device: Device
    one_at_a_time: RLock
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...] = ()
    on_host: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _There:
    """A tensor on the device, and the part that made it."""

    address: int
    shape: tuple[int, ...]
    size: int
    part: str = ""


class PartsSlot(Execution):
    """A context for every engine, and device memory for what comes from the host. Used by one thread at a time.

    Args:
        engine: the parts.
        general: whether one set of kernels serves all shapes (see ``Engine.context``).
        lasting: whether it will have one shape for long (likewise).

    Attributes:
        span: is entered around everything that is done for a part.
    """

    def __init__(self, engine: PartsEngine, *, general: bool = False, lasting: bool = False) -> None:
        super().__init__(engine)
        self.engine, self._general = engine, general
        self.span: Span = _untimed
        self._slots: dict[str, Slot] = {}
        self._memory: dict[str, Growing] = {}
        between = _Between(engine.device, engine.one_at_a_time, tuple(engine.tensors.values()))
        self._tray = Tray(between)  # of what passes between engines and the rest
        self._outside: Tray | None = None
        self._there: dict[str, _There] = {}  # tensors on the device
        self._here: dict[str, np.ndarray] = {}  # tensors on the host
        self._items = {name: dtypes.numpy_type(info.dtype).itemsize for name, info in engine.tensors.items()}
        try:
            for step in engine.steps:
                if isinstance(step.runner, Engine):
                    self._slots[step.name] = Slot(step.runner, general=general, lasting=lasting)
        except BaseException:
            self.close()
            raise

    @property
    def worn(self) -> bool:
        """See ``Execution.worn``: only where all shapes share it; else contexts are replaced one by one."""
        return self._general and any(slot.worn for slot in self._slots.values())

    @property
    def obstacle(self) -> str:
        """See ``Execution.obstacle``."""
        return self.engine.obstacle

    @property
    def contexts(self) -> dict[str, TrtIExecutionContext]:
        """See ``Execution.contexts``."""
        return {f"{name}: ": slot.context for name, slot in self._slots.items()}

    @property
    def copies_alone(self) -> bool:
        """See ``Execution.copies_alone``."""
        return not self.engine.obstacle and not any(slot.host for slot in self._slots.values())

    def fit(self, tray: Tray, stream: Stream) -> bool:
        """See ``Execution.fit``. Parts behind one that runs on the CPU are made ready when it has run."""
        form = tray.form()
        fresh, self._outside = form != self.form, tray
        if fresh:
            self.form = ()  # until it is done
            with self.engine.one_at_a_time:
                self.drop_graph()
                self._begin({name: shape for name, shape, _ in form})
                if not self.engine.obstacle:
                    for step in self.engine.steps:
                        self._settle(step, stream)
                    names = [info.name for info in self.engine.outputs if info.name in self._there]
                    self.outputs = {name: self._there[name].shape for name in names}
            self.form = form
        tray.lay(self.outputs)
        return fresh

    def copy_in(self, tray: Tray, stream: Stream) -> None:
        """See ``Execution.copy_in``."""
        for info in self.engine.inputs:
            if info.name in self._memory:
                reader = next(step.name for step in self.engine.steps if info.name in step.inputs)
                with self.span(reader, "h2d", stream, self._there[info.name].size):
                    copy_input(tray, info.name, self._memory[info.name].address, stream)

    def enqueue(self, stream: Stream) -> None:
        """See ``Execution.enqueue``; waits for what a part on the CPU reads, and for that part."""
        if not self.engine.obstacle:
            for name, slot in self._slots.items():
                with self.span(name, "compute", stream, 0):
                    slot.enqueue(stream)
            return
        self._begin({name: shape for name, shape, _ in self.form})
        for step in self.engine.steps:
            if isinstance(step.runner, Engine):
                self._hand_over(step, stream)
                self._settle(step, stream)
                with self.span(step.name, "compute", stream, 0):
                    self._slots[step.name].enqueue(stream)
            else:
                self._fetch(step.inputs, stream)
                with self.span(step.name, "host", stream, 0):
                    self._here |= step.runner.run({name: self._here[name] for name in step.inputs})

    def copy_out(self, tray: Tray, stream: Stream) -> None:
        """See ``Execution.copy_out``."""
        given = {info.name for info in self.engine.inputs if info.name not in tray.made}
        for name in (info.name for info in self.engine.outputs if info.name not in given):
            if (found := self._there.get(name)) is not None:
                tray.lay({name: found.shape})
                if tray.arrays[name].nbytes:
                    with self.span(found.part, "d2h", stream, found.size):
                        stream.copy_out(tray.bytes_of(name), found.address)
                continue
            array = self._here[name] if name in self._here else self._on_host(name, stream)
            np.copyto(tray.lay({name: array.shape})[name], array)

    def close(self) -> None:
        """See ``Execution.close``."""
        with self.engine.one_at_a_time:
            self.drop_graph()
            while self._slots:
                self._slots.popitem()[1].close()
            while self._memory:
                self._memory.popitem()[1].close()
        self._tray.close()

    def _begin(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Only the inputs of the whole are there."""
        assert self._outside is not None, "it was made ready for no tray"
        arrays = self._outside.arrays
        self._there = {}
        self._here = {name: arrays[name] for name in shapes if name in arrays}
        read = self._read_on_device()
        for name, shape in shapes.items():
            if name in read or name in self._outside.made:
                self._there[name] = self._room(name, shape)

    def _read_on_device(self) -> set[str]:
        return {n for e in self.engine.engines for info in e.inputs if (n := info.name) not in e.on_host}

    def _room(self, name: str, shape: tuple[int, ...]) -> _There:
        """Device memory for what comes from the host."""
        memory, size = self._memory.setdefault(name, Growing(self.engine.device)), self._size(name, shape)
        if not memory.address or size > memory.size:
            with self.engine.one_at_a_time:
                memory.resize(size)
        return _There(memory.address, shape, size)

    def _size(self, name: str, shape: tuple[int, ...]) -> int:
        return int(np.prod(shape, dtype=np.int64)) * self._items[name]

    def _hand_over(self, step: Step, stream: Stream) -> None:
        """Enqueue copies of those inputs that a part on the CPU made, and fetch values that decide shapes."""
        assert isinstance(step.runner, Engine)
        self._fetch(self._values_of(step.runner), stream)
        for name in step.inputs:
            if name in self._there or name in step.runner.on_host:
                continue
            array = self._here[name]
            np.copyto(self._tray.lay({name: array.shape})[name], array)
            self._there[name] = self._room(name, array.shape)
            if array.nbytes:
                with self.span(step.name, "h2d", stream, array.nbytes):
                    stream.copy_in(self._there[name].address, self._tray.bytes_of(name))

    def _settle(self, step: Step, stream: Stream) -> None:
        """Make a part's context ready for what it will read, and note where its outputs will be."""
        engine, slot = step.runner, self._slots[step.name]
        assert isinstance(engine, Engine)
        if slot.worn and not self._general:
            stream.synchronize()
            slot.close()
            slot = self._slots[step.name] = Slot(engine, general=True)
        shapes = {n: self._there[n].shape if n in self._there else self._here[n].shape for n in step.inputs}
        given = {name: self._there[name].address for name in step.inputs if name not in engine.on_host}
        slot.settle(shapes, {n: self._here[n] for n in self._values_of(engine)}, given, stream)
        for name, shape in slot.outputs.items():
            if name not in slot.host:
                self._there[name] = _There(slot.address(name), shape, self._size(name, shape), step.name)

    def _values_of(self, engine: Engine) -> list[str]:
        """Inputs whose values the host must know."""
        deciding = engine.values[0] if engine.values else {}
        return [info.name for info in engine.inputs if info.name in engine.on_host or info.name in deciding]

    def _fetch(self, names: Collection[str], stream: Stream) -> None:
        """Bring tensors to the host; waits for those that are not there."""
        missing = [name for name in names if name not in self._here and name in self._there]
        for name in missing:
            found = self._there[name]
            self._here[name] = self._tray.lay({name: found.shape})[name]
            if self._here[name].nbytes:
                with self.span(found.part, "d2h", stream, found.size):
                    stream.copy_out(self._tray.bytes_of(name), found.address)
        if missing:
            stream.synchronize()
        for name in names:
            if name not in self._here:
                self._here[name] = self._on_host(name, stream)

    def _on_host(self, name: str, stream: Stream) -> np.ndarray:
        """What an engine put into host memory; waits for it."""
        stream.synchronize()
        return next(slot.host[name] for slot in self._slots.values() if name in slot.host)
