"""One query on the GPU: copies in, a run and copies out, replayed from a CUDA graph where that can be."""

from __future__ import annotations

import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trtconv.adapters.cuda import Graph, HostBytes, Stream
from trtconv.adapters.tensorrt_api import TrtIExecutionContext
from trtconv.core.errors import EnvironmentProblem
from trtconv.engines.run.host_buffers import Form, Sides, Tray

if TYPE_CHECKING:
    import numpy as np


Copies = tuple[Sequence[tuple[int, HostBytes]], Sequence[tuple[int, HostBytes]]]
"""Device addresses and the host's bytes, of inputs and of outputs."""


class Execution(ABC):
    """What contexts and device memory one query takes. Used by one thread at a time.

    Attributes:
        form: what it is ready for.
        outputs: shapes, where they are known before a run.
    """

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self.form: Form = ()
        self.outputs: dict[str, tuple[int, ...]] = {}
        self._graph: Graph | None = None
        self._copies: tuple[Tray, int] | None = None  # whose copies are in the graph too
        self._stream: Stream | None = None

    @property
    @abstractmethod
    def worn(self) -> bool:
        """Whether it has changed so often that a new one should take its place.

        Both cost host memory: TensorRT-RTX keeps some of every change until the context is freed, and some of every
        context for good.
        """

    @abstractmethod
    def fit(self, tray: Tray, stream: Stream) -> bool:
        """Make it ready for a tray's inputs, and the tray for its outputs; nothing may be running on it.

        Returns:
            Whether anything changed.

        Raises:
            UsageError: outside every profile.
            EnvironmentProblem: out of memory.
        """

    @abstractmethod
    def copy_in(self, tray: Tray, stream: Stream) -> None:
        """Enqueue the copies of all inputs to where they are read."""

    @abstractmethod
    def copy_out(self, tray: Tray, stream: Stream) -> None:
        """Enqueue the copies of all outputs to the host; waits for the run where only that tells their shapes."""

    @abstractmethod
    def enqueue(self, stream: Stream) -> None:
        """Enqueue one run, without a graph."""

    @abstractmethod
    def close(self) -> None:
        """Free everything; nothing may be running."""

    @property
    @abstractmethod
    def obstacle(self) -> str:
        """Why runs cannot be captured; empty where they may."""

    @property
    @abstractmethod
    def contexts(self) -> dict[str, TrtIExecutionContext]:
        """TensorRT's own objects, by what the names of their layers are to begin with."""

    @property
    @abstractmethod
    def copies_alone(self) -> bool:
        """Whether all its copies are the GPU's: those that the host makes belong to no graph."""

    def copies(self, tray: Tray) -> Copies | None:
        """What ``copy_in`` and ``copy_out`` copy, where they do nothing else and it stays the same; None elsewhere."""
        return None

    @property
    def replays(self) -> bool:
        """Whether runs come from a CUDA graph."""
        return self._graph is not None

    def compute(self, stream: Stream) -> None:
        """Enqueue one run, or the replay of its graph."""
        self.again(stream)()

    def again(self, stream: Stream) -> Callable[[], None]:
        """What ``compute`` does, to be called for as long as nothing about it changes."""
        self._stream = stream
        if self._graph is not None and self._copies is None:
            return functools.partial(self._graph.launch, stream)
        return functools.partial(self.enqueue, stream)

    def capture(self, tray: Tray | None = None) -> str:
        """Replay further runs from a CUDA graph; at least one run was made for this form, and none is under way.

        Args:
            tray: whose copies become part of the graph: ``replay`` then makes the whole query.

        Returns:
            Why that cannot be; empty when it can.
        """
        if self.obstacle:
            return self.obstacle
        if tray is not None and (not self.copies_alone or tray.made):
            tray = None

        def work() -> None:
            if tray is not None:
                self.copy_in(tray, stream)
            self.enqueue(stream)
            if tray is not None:
                self.copy_out(tray, stream)

        # A stream of its own: other threads may be at work on the ones that runs use.
        with self._sides.one_at_a_time:
            self.drop_graph()
            try:
                with contextlib.closing(self._sides.device.stream()) as stream:
                    self._graph = stream.capture(work)
            except EnvironmentProblem as problem:  # no memory for a stream or a graph, too: runs need neither
                return f"this engine cannot be captured: {problem.message}"
        self._copies = None if tray is None else (tray, tray.moves)
        return ""

    def replay(self, tray: Tray, stream: Stream) -> bool:
        """Enqueue the whole query with its copies, if its graph has them and the tray is where it was then."""
        if self._graph is None or self._copies != (tray, tray.moves):
            return False
        self._graph.launch(stream)
        return True

    def drop_graph(self) -> None:
        """Forget it: what it was captured from changes."""
        if self._graph is not None:
            self._graph.close()
        self._graph = self._copies = None


def copy_input(tray: Tray, name: str, address: int, stream: Stream) -> None:
    """Enqueue the copy of an input to a device address, from the host or from where kernels made it."""
    if (made := tray.made.get(name)) is not None:
        stream.wait(made.made())
        stream.copy_within(address, made.address, made.nbytes)
    elif tray.arrays[name].nbytes:
        stream.copy_in(address, tray.bytes_of(name))


def form_of(sides: Sides, shapes: dict[str, tuple[int, ...]], arrays: dict[str, np.ndarray]) -> Form:
    """What a query must be made ready for; see ``Tray.form``."""
    return tuple(
        (info.name, shapes[info.name], arrays[info.name].tobytes() if info.name in sides.on_host else b"")
        for info in sides.inputs
    )
