"""Runs a model: an engine on the GPU, or its typed ONNX on ONNX Runtime, through one interface."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.adapters.cuda import Stream
from trtconv.adapters.onnxruntime import Session
from trtconv.core.errors import OutOfMemory
from trtconv.core.events import Emit, ignore
from trtconv.core.records import AS_USUAL, Loading, TensorInfo
from trtconv.engines.build import profiles
from trtconv.engines.build.profiles import Profile
from trtconv.engines.plan import dtypes
from trtconv.engines.run import engine, input_checks
from trtconv.engines.run.host_buffers import Form, Shapes, Tray
from trtconv.engines.run.input_checks import Fill
from trtconv.engines.run.replays import Execution
from trtconv.engines.run.slots import OnGpu, slot_of
from trtconv.graph import strict

CPU = "onnxruntime"
_SHAPES = 8  # that get a context of their own
_SHARE = 0.1  # of the GPU's free memory that one more context may take


class Runner(Protocol):
    """A model ready to run; used by one thread at a time.

    Attributes:
        inputs: name, dtype, shape.
        outputs: likewise.
        profiles: ranges that the inputs may have; empty: no limits known.
        values: per profile, ranges of the values of inputs that decide shapes; empty: there are none, or nobody knows.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    profiles: tuple[Profile, ...]
    values: tuple[Profile, ...]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs for one batch, host to host.

        Raises:
            UsageError: an unknown or missing input, a wrong dtype, a shape or values outside the profiles.
        """

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """The same, with inputs written straight to where the runner wants them: pinned memory for a GPU.

        Args:
            shapes: of all inputs.
            fill: gets arrays of these shapes and the inputs' types, to write every element of.

        Raises:
            UsageError: a shape or values outside the profiles.
        """

    def describe(self) -> str:
        """What runs it, such as ``TensorRT-RTX 1.5.0.114 on NVIDIA H200``."""

    def memory(self) -> int | None:
        """Bytes of GPU memory in use by the engine and everything made from it; None without a GPU."""

    def current(self) -> AbstractContextManager[None]:
        """Around its runs in any thread but the one that opened it."""

    def fork(self) -> Runner:
        """Another one of the same model, for another thread; close it before this one."""

    def close(self) -> None:
        """Free everything."""


class OnnxRunner:
    """ONNX Runtime on the CPU.

    Attributes:
        basis: what its numbers rest on: ``strict`` (a typed model, computed as its types say) or ``ONNX Runtime`` (one
            whose types leave nothing to round).
    """

    def __init__(
        self, session: Session | strict.Session, allowed: tuple[Profile, ...] = (), values: tuple[Profile, ...] = ()
    ) -> None:
        self._session = session
        self.basis = "strict" if isinstance(session, strict.Session) else "ONNX Runtime"
        self.inputs, self.outputs, self.profiles, self.values = session.inputs, session.outputs, allowed, values

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``Runner.run``."""
        return self._session.run(input_checks.fitting(feeds, self.inputs, self.profiles, self.values))

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """See ``Runner.run_filled``."""
        profiles.choose(self.profiles, shapes)
        feeds = {info.name: np.empty(shapes[info.name], dtypes.numpy_type(info.dtype)) for info in self.inputs}
        fill(feeds)
        profiles.choose(self.profiles, shapes, self.values, input_checks.held(feeds, self.values))
        return self._session.run(feeds)

    def describe(self) -> str:
        """See ``Runner.describe``."""
        return f"ONNX Runtime {onnxruntime.version()}{', strict,' if self.basis == 'strict' else ''} on CPU"

    def memory(self) -> None:
        """It has none on a GPU."""

    def current(self) -> AbstractContextManager[None]:
        """Nothing to prepare."""
        return contextlib.nullcontext()

    def fork(self) -> OnnxRunner:
        """The same session: ONNX Runtime's sessions run in several threads."""
        return self

    def close(self) -> None:
        """Nothing to free."""


class OwnShapes:
    """The shapes whose kernels are their own; the same in all runners of an engine.

    Kernels for one shape and kernels for every shape give other last bits. So what decides between them is asked once
    for each shape, and an input gives the same result whichever context takes it; unless a runner finds no memory.
    """

    def __init__(self, engine: OnGpu) -> None:
        self._engine = engine
        self._known: dict[Form, bool] = {}
        self._lock = threading.Lock()

    def own(self, form: Form) -> bool:
        """Whether a shape has its own; not where enough have, or a context takes much of what memory is left."""
        with self._lock:
            if form not in self._known:
                needed, free = self._engine.context_memory, self._engine.device.memory_info()[0]
                full = sum(self._known.values()) >= _SHAPES or needed > _SHARE * free
                self._known[form] = not full or not self._known
            return self._known[form]


class EngineRunner:
    """TensorRT on the GPU, one query at a time; runs of one shape are replayed from a CUDA graph where that can be.

    The first shapes get a context each, which stays as it is. Any further ones share a context whose kernels serve
    every shape: TensorRT-RTX compiles for half a second at each new shape otherwise, and each change of a context's
    shape costs it milliseconds, and host memory that it frees with the context only.

    Args:
        model: the engine.
        owner: whether closing the runner closes the engine and leaves the device.
        graph: whether to replay.
        shapes: shared with the other runners of the engine; None: there are none yet.
    """

    basis = "engine"
    """What its numbers rest on."""

    def __init__(
        self, model: OnGpu, *, owner: bool = True, graph: bool = True, shapes: OwnShapes | None = None
    ) -> None:
        self.engine = model
        self._shapes = shapes or OwnShapes(model)
        self._owner = owner
        self._graph = self._capturable = graph
        self._spare: Execution | None = slot_of(model)
        self._own: dict[Form, Execution] = {}
        self._shared: Execution | None = None
        self._stream = model.device.stream()
        self._tray = Tray(model)
        self._again: tuple[tuple[str, tuple[int, ...], np.dtype], ...] = ()  # what needs no check any more
        self._last: Execution | None = None
        self.replays = False
        """Whether the last run came from a CUDA graph."""
        self.inputs, self.outputs = model.inputs, model.outputs
        self.profiles, self.values = model.profiles, model.values

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``Runner.run``."""
        signature = tuple([(name, array.shape, array.dtype) for name, array in feeds.items()])
        if signature == self._again and self._last is not None:
            return self._run_again(self._last, feeds)
        self._again = ()  # until this one is done: Ctrl-C may leave the tray laid out for it
        self._tray.fill(input_checks.fitting(feeds, self.inputs, self.profiles, self.values))
        outputs = self._run()
        exact = all(array.dtype == self._tray.dtype(name) for name, array in feeds.items())
        if self.replays and exact and not self.values:
            self._again = signature
        return outputs

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """See ``Runner.run_filled``."""
        self._again = ()
        fill(self._tray.lay(shapes))
        return self._run()

    def rest(self) -> None:
        """Free the contexts and all buffers; the next run makes them again."""
        for slot in (*self._own.values(), self._shared, self._spare):
            if slot is not None:
                slot.close()
        self._own, self._shared, self._spare = {}, None, None
        self._again, self._last = (), None
        self._tray.close()

    def describe(self) -> str:
        """See ``Runner.describe``."""
        return self.engine.title

    def memory(self) -> int:
        """See ``Runner.memory``."""
        return self.engine.memory_used()

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU current in this thread."""
        return self.engine.device.current()

    def fork(self, graph: bool | None = None) -> EngineRunner:
        """Another context and stream on the same engine, with CUDA graphs or without; as this one where not said."""
        graph = self._graph if graph is None else graph
        return EngineRunner(self.engine, owner=False, graph=graph, shapes=self._shapes)

    def close(self) -> None:
        """Free the contexts and buffers; the first runner frees the engine and leaves the device too."""
        self.rest()
        self._stream.close()
        if self._owner:
            self.engine.close()
            self.engine.device.close()

    def _run(self) -> dict[str, np.ndarray]:
        tray, stream = self._tray, self._stream
        slot = self._last = self._slot(tray.form())
        try:
            self._enqueue(slot, tray, stream)
        finally:  # after Ctrl-C too: nothing may be running when the next query changes the slot
            stream.synchronize()
        return tray.outputs()

    def _run_again(self, slot: Execution, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The last query with other values: all is laid out, and one launch makes it."""
        for name, array in feeds.items():
            np.copyto(self._tray.arrays[name], array)
        try:
            replayed = slot.replay(self._tray, self._stream)
        finally:
            self._stream.synchronize()
        return self._tray.outputs() if replayed else self._run()

    def _enqueue(self, slot: Execution, tray: Tray, stream: Stream) -> None:
        fresh = slot.fit(tray, stream)
        self.replays = slot.replay(tray, stream)
        if not self.replays:
            if self._capturable and not (fresh or slot is self._shared):  # a first run prepares it
                self._capturable = not slot.capture(tray)
            self.replays = slot.replay(tray, stream)
        if not self.replays:
            slot.copy_in(tray, stream)
            slot.compute(stream)
            slot.copy_out(tray, stream)

    def _slot(self, form: Form) -> Execution:
        """The context for these shapes."""
        if form not in self._own:
            if not self._shapes.own(form):
                return self._other()
            slot, self._spare = self._spare, None
            try:
                self._own[form] = slot or slot_of(self.engine)
            except OutOfMemory:
                return self._other()
        return self._own[form]

    def _other(self) -> Execution:
        """The context for all other shapes; one of the others where there is no memory for it."""
        if self._shared is not None and self._shared.worn:
            self._shared.close()
            self._shared = None
        if self._shared is None:
            try:
                self._shared = slot_of(self.engine, general=True)
            except OutOfMemory:
                if not self._own:
                    raise
                self._shared = self._own.pop(next(iter(self._own)))
        return self._shared


def open_onnx(
    model: Path, allowed: tuple[Profile, ...] = (), values: tuple[Profile, ...] = (), *, exact: bool = True
) -> OnnxRunner:
    """An ONNX file on ONNX Runtime.

    Args:
        model: the file.
        allowed: ranges of shapes to hold it to, as the engine that it stands for would.
        values: likewise, of the values of inputs that decide shapes.
        exact: whether a typed model is computed strictly, as its types say; off, ONNX Runtime does as fast as it can.

    Raises:
        SourceError: it cannot be loaded.
    """
    session = strict.open_file(model) if exact else onnxruntime.session(model)
    return OnnxRunner(session, allowed, values)


def open_engine(
    model: Path, backend: str = "auto", device_api: str = "auto", emit: Emit = ignore, loading: Loading = AS_USUAL
) -> EngineRunner:
    """An engine on this machine's GPU.

    Raises:
        SourceError: not an engine.
        UsageError: a budget for weights that it does not stream, or has not so many of.
        EnvironmentProblem: it cannot run here; the message says why.
    """
    return EngineRunner(engine.load(model, backend, device_api, emit, loading=loading))
