"""Runs a model: an engine on the GPU, or its typed ONNX on ONNX Runtime, through one interface."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.adapters.onnxruntime import Session
from trtconv.backends import dtypes, engine, header, profiles, sidecar
from trtconv.backends.engine import Engine
from trtconv.backends.profiles import Profile
from trtconv.backends.slots import Slot
from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import Emit, ignore
from trtconv.core.names import did_you_mean
from trtconv.core.records import TensorInfo

CPU = "onnxruntime"
_CHANGES = 4  # of shape, after which a runner gives up TensorRT-RTX's own graphs

Shapes = Mapping[str, tuple[int, ...]]
Fill = Callable[[Mapping[str, np.ndarray]], None]


class Runner(Protocol):
    """A model ready to run; used by one thread at a time.

    Attributes:
        inputs: name, dtype, shape.
        outputs: likewise.
        profiles: ranges that the inputs may have; empty: no limits known.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    profiles: tuple[Profile, ...]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs for one batch, host to host.

        Raises:
            UsageError: an unknown or missing input, a wrong dtype, a shape outside the profiles.
        """

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """The same, with inputs written straight to where the runner wants them: pinned memory for a GPU.

        Args:
            shapes: of all inputs.
            fill: gets arrays of these shapes and the inputs' types, to write every element of.

        Raises:
            UsageError: a shape outside the profiles.
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
    """ONNX Runtime on the CPU."""

    def __init__(self, session: Session, allowed: tuple[Profile, ...] = ()) -> None:
        self._session = session
        self.inputs, self.outputs, self.profiles = session.inputs, session.outputs, allowed

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``Runner.run``."""
        return self._session.run(_checked(feeds, self.inputs, self.profiles))

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """See ``Runner.run_filled``."""
        profiles.choose(self.profiles, shapes)
        feeds = {info.name: np.empty(shapes[info.name], dtypes.numpy_type(info.dtype)) for info in self.inputs}
        fill(feeds)
        return self._session.run(feeds)

    def describe(self) -> str:
        """See ``Runner.describe``."""
        return f"ONNX Runtime {onnxruntime.version()} on CPU"

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


class EngineRunner:
    """TensorRT on the GPU, one query at a time; runs of one shape are replayed from a CUDA graph where that can be.

    Args:
        model: the engine.
        owner: whether closing the runner closes the engine and leaves the device.
        graph: whether to replay.
    """

    def __init__(self, model: Engine, *, owner: bool = True, graph: bool = True) -> None:
        self.engine = model
        self._owner = owner
        self._graph = graph
        self._slot = Slot(model, graph=graph)
        self._stream = model.device.stream()
        self._resting = False
        self._changes = 0
        self._capturable = graph and not self._slot.replays
        self.inputs, self.outputs, self.profiles = model.inputs, model.outputs, model.profiles

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``Runner.run``."""
        feeds = _checked(feeds, self.inputs, self.profiles)
        return self._run({name: array.shape for name, array in feeds.items()}, lambda host: _fill(host, feeds))

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """See ``Runner.run_filled``."""
        return self._run(shapes, lambda host: fill({info.name: host[info.name] for info in self.inputs}))

    def _run(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        if self._resting:
            self._slot, self._resting = Slot(self.engine, graph=self._graph), False
        slot, stream = self._slot, self._stream
        fresh = slot.reshape(shapes, stream)
        self._changes += fresh
        if fresh and self._changes > _CHANGES and self._graph and not self._capturable:
            slot = self._without_graph(shapes)
        fill(slot.host)
        slot.copy_in(stream)
        if self._capturable and not fresh and not slot.replays:  # the first run at a shape prepares it
            self._capturable = not slot.capture(stream)
        slot.compute(stream)
        slot.copy_out(stream)
        stream.synchronize()
        return slot.outputs()

    def _without_graph(self, shapes: Shapes) -> Slot:
        """A slot that enqueues: each shape's new graph costs TensorRT-RTX milliseconds, and host memory for good."""
        self._slot.close()
        self._graph = False
        self._slot = Slot(self.engine)
        self._slot.reshape(shapes, self._stream)
        return self._slot

    def rest(self) -> None:
        """Free the context and its buffers; the next run makes them again."""
        self._slot.close()
        self._resting = True

    def describe(self) -> str:
        """See ``Runner.describe``."""
        return f"{self.engine.loaded.title} on {self.engine.device.gpu.name}"

    def memory(self) -> int:
        """See ``Runner.memory``."""
        return self.engine.memory_used()

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU current in this thread."""
        return self.engine.device.current()

    def fork(self, graph: bool | None = None) -> EngineRunner:
        """Another context and stream on the same engine, with CUDA graphs or without; as this one where not said."""
        return EngineRunner(self.engine, owner=False, graph=self._graph if graph is None else graph)

    @property
    def replays(self) -> bool:
        """Whether its runs come from a CUDA graph."""
        return self._slot.replays

    def close(self) -> None:
        """Free the context and its buffers; the first runner frees the engine and leaves the device too."""
        self._slot.close()
        self._stream.close()
        if self._owner:
            self.engine.close()
            self.engine.device.close()


def open_onnx(model: Path, allowed: tuple[Profile, ...] = ()) -> OnnxRunner:
    """An ONNX file on ONNX Runtime.

    Args:
        model: the file.
        allowed: ranges of shapes to hold it to, as the engine that it stands for would.

    Raises:
        SourceError: it cannot be loaded.
    """
    return OnnxRunner(onnxruntime.session(model), allowed)


def open_engine(model: Path, backend: str = "auto", device_api: str = "auto", emit: Emit = ignore) -> EngineRunner:
    """An engine on this machine's GPU.

    Raises:
        SourceError: not an engine.
        EnvironmentProblem: it cannot run here; the message says why.
    """
    return EngineRunner(engine.load(model, backend, device_api, emit))


def open_runner(
    model: Path, backend: str = "auto", fallback: Path | None = None, device_api: str = "auto", emit: Emit = ignore
) -> tuple[Runner, str]:
    """What runs a model, and why that is not the engine that was asked for.

    Args:
        model: .engine or .onnx.
        backend: ``auto`` (the engine on a GPU, else ONNX Runtime), ``tensorrt``, ``rtx`` (never fall back) or
            ``onnxruntime``.
        fallback: typed ONNX that stands for the engine; None: the one that its sidecar names.
        device_api: ``auto``, ``cuda`` or ``pycuda``.
        emit: gets warnings.

    Returns:
        The runner, and the reason for a fallback (empty without one).

    Raises:
        SourceError: a file that is neither, or damaged.
        EnvironmentProblem: the engine cannot run here and nothing may take its place.
        UsageError: an ONNX file with a backend that runs engines only.
    """
    if model.suffix == ".onnx":
        if backend not in ("auto", CPU):
            raise UsageError(f"{model}: backend {backend} runs engines, and this is an ONNX model",
                             hint=f"trtconv build {model} makes an engine of it")  # fmt: skip
        return open_onnx(model), ""
    header.read(model)  # a damaged engine is an error, never a reason to run something else
    if backend == CPU:
        return _stand_in(model, fallback, ""), ""
    try:
        return open_engine(model, backend, device_api, emit), ""
    except EnvironmentProblem as problem:
        if backend != "auto":
            raise
        return _stand_in(model, fallback, problem.message), problem.message


def _stand_in(model: Path, fallback: Path | None, reason: str) -> OnnxRunner:
    facts = sidecar.read(model)
    typed = fallback or (facts.model if facts else None)
    if typed is None:
        raise EnvironmentProblem(f"{reason or f'{model} is an engine'}, and there is no ONNX model to run instead",
                                 hint="give the typed .onnx file that it was built from")  # fmt: skip
    return open_onnx(typed, facts.profiles if facts else ())


def _fill(host: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]) -> None:
    for name, array in feeds.items():
        np.copyto(host[name], array)


def _checked(
    feeds: Mapping[str, np.ndarray], inputs: Sequence[TensorInfo], allowed: Sequence[Profile]
) -> dict[str, np.ndarray]:
    """Feeds in the inputs' types."""
    by_name = {info.name: info for info in inputs}
    unknown = [name for name in feeds if name not in by_name]
    if unknown:
        raise UsageError(f"unknown input {unknown[0]!r}; the inputs are {', '.join(by_name)}",
                         hint=did_you_mean(unknown[0], by_name))  # fmt: skip
    missing = [name for name in by_name if name not in feeds]
    if missing:
        raise UsageError(f"input {missing[0]!r} is missing", hint=f"the inputs are {', '.join(by_name)}")
    checked = {name: _fitting(feeds[name], info) for name, info in by_name.items()}
    profiles.choose(allowed, {name: array.shape for name, array in checked.items()})
    return checked


def _fitting(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    wanted = dtypes.numpy_type(info.dtype)
    if array.dtype != wanted and not np.can_cast(array.dtype, wanted, "same_kind"):
        raise UsageError(f"input {info.name!r} has type {array.dtype}, expected {info.dtype}",
                         hint=f"convert it with .astype({wanted.name!r})")  # fmt: skip
    fits = len(array.shape) == len(info.shape) and all(
        not isinstance(want, int) or want == have for want, have in zip(info.shape, array.shape, strict=True)
    )
    if not fits:
        raise UsageError(f"input {info.name!r} has shape {list(array.shape)}, expected "
                         f"[{', '.join(map(str, info.shape))}]", hint="reshape the samples")  # fmt: skip
    return array.astype(wanted, copy=False)
