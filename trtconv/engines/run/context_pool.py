"""Several contexts of an engine, shared by more threads than there are contexts.

A thread fills a tray of its own, and only then takes a context: while it reads and decodes, the contexts work for other
threads. Two contexts share a lane, which is a stream each for copies in, computation and copies out: while one
computes, the other's inputs come and its outputs go.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np

from trtconv.adapters.cuda import Device, Event, Stream
from trtconv.core.errors import OutOfMemory
from trtconv.engines.run import input_checks
from trtconv.engines.run.host_buffers import Form, Shapes, Tray
from trtconv.engines.run.slots import OnGpu, slot_of

_DEPTH = 2  # contexts per lane
_WARM = 2  # runs that compile kernels and capture graphs


class _Lane:
    """Streams that two contexts use in turns."""

    def __init__(self, device: Device) -> None:
        self.copy_in, self.compute, self.copy_out = (device.stream() for _ in range(3))

    def close(self) -> None:
        for stream in (self.copy_in, self.compute, self.copy_out):
            stream.close()


class _Flight:
    """A context on its lane. Waiting for it sleeps: the processors have samples to read meanwhile."""

    def __init__(self, engine: OnGpu, lane: _Lane, *, general: bool) -> None:
        self.engine, self.lane, self.general = engine, lane, general
        self.slot = slot_of(engine, general=general)
        self.events: list[Event] = []
        try:
            for spin in (True, True, False):  # it waits for the last only
                self.events.append(engine.device.event(spin=spin))
        except BaseException:
            self.close()
            raise

    def run(self, tray: Tray) -> None:
        """One query, from the tray's inputs to its outputs."""
        slot, lane = self.slot, self.lane
        arrived, computed, left = self.events
        slot.fit(tray, lane.compute)
        slot.copy_in(tray, lane.copy_in)
        _then(arrived, lane.copy_in, lane.compute)
        slot.compute(lane.compute)
        _then(computed, lane.compute, lane.copy_out)
        slot.copy_out(tray, lane.copy_out)
        left.record(lane.copy_out)
        left.synchronize()
        if slot.worn:
            self.renew()

    def warm(self, tray: Tray) -> None:
        """Compile and capture."""
        for _ in range(_WARM):
            self.run(tray)
        if not self.general:
            self.slot.capture()

    def renew(self) -> None:
        """Make the context anew; nothing may be running on it."""
        self.slot.close()
        self.slot = slot_of(self.engine, general=self.general)

    def close(self) -> None:
        for event in self.events:
            event.close()
        self.slot.close()


def _then(event: Event, first: Stream, second: Stream) -> None:
    event.record(first)
    second.wait(event)


class Pool:
    """Contexts for a crew. One shape may be the usual one: kernels are compiled for it, and graphs captured.

    Args:
        engine: the model.
        contexts: how many; fewer are made where the GPU's memory does not take them.
        usual: shapes of all inputs that most queries have; None where they differ.
        other: shapes of a query that differs; such queries get kernels that serve every shape. None: there is none.

    Raises:
        UsageError: the usual shapes are outside every profile.
        EnvironmentProblem: not enough GPU memory for one context.
    """

    def __init__(self, engine: OnGpu, contexts: int, usual: Shapes | None, other: Shapes | None) -> None:
        self.engine = engine
        self._usual = dict(usual) if usual else {}
        self._lanes = [_Lane(engine.device) for _ in range(-(-contexts // _DEPTH))]
        self._flights: list[_Flight] = []
        self._free: list[_Flight] = []
        self._lock = threading.Lock()
        # one for each kind of context: a thread that wakes for nothing holds up the others
        self._freed = {general: threading.Condition(self._lock) for general in (False, True)}
        try:
            self._make(contexts, other)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._flights)

    def run(self, tray: Tray) -> None:
        """One query in this thread; waits for a free context."""
        flight = self._take(tray.form())
        try:
            flight.run(tray)
        finally:
            with self._lock:
                self._free.append(flight)
                self._freed[flight.general].notify()

    def close(self) -> None:
        """Free everything; nothing may be running."""
        for flight in self._flights:
            flight.close()
        for lane in self._lanes:
            lane.close()
        self._flights, self._lanes, self._free = [], [], []

    def prepare(self, tray: Tray, *, made: bool) -> None:
        """Make a tray as large as its queries need: memory takes its time, and no run should wait for it.

        Args:
            tray: of one of its threads.
            made: whether the input will be made on the device.
        """
        if self._usual:
            if made:
                tray.lay_made(*next(iter(self._usual.items())))
            else:
                tray.lay(self._usual)
            tray.lay(self._flights[0].slot.outputs)

    def _make(self, contexts: int, other: Shapes | None) -> None:
        with contextlib.closing(Tray(self.engine)) as tray:
            for number in range(contexts):
                self._add(number, tray, self._usual or other, general=not self._usual)
            if self._usual and other:
                self._add(0, tray, other, general=True)
        self._free = list(self._flights)

    def _add(self, number: int, tray: Tray, shapes: Shapes | None, *, general: bool) -> None:
        """One more context, ready to run, if the GPU's memory takes it; the first must be.

        Each is warm before the next is made: so that one finds the kernels that this one compiled.
        """
        with contextlib.ExitStack() as undo:
            try:
                flight = _Flight(self.engine, self._lanes[number % len(self._lanes)], general=general)
                undo.callback(flight.close)
                if shapes and not self.engine.on_host:  # such values cannot be made up
                    tray.fill({name: np.zeros(shape, tray.dtype(name)) for name, shape in shapes.items()})
                    flight.warm(tray)
            except OutOfMemory:
                if not self._flights:
                    raise
            else:
                undo.pop_all()
                self._flights.append(flight)

    def _take(self, form: Form) -> _Flight:
        general = {name: shape for name, shape, _ in form} != self._usual
        if not any(flight.general == general for flight in self._flights):
            general = not general  # the only kind that there is
        with self._lock:
            while True:
                free = [flight for flight in self._free if flight.general == general]
                if free:
                    best = next((flight for flight in free if flight.slot.form == form), free[0])
                    self._free.remove(best)
                    return best
                self._freed[general].wait()


class PooledRunner:
    """One thread's way to a pool's contexts (see ``Runner``).

    Args:
        pool: the contexts.
        title: what ``describe`` says.
        made: whether its only input is always made on the device.
    """

    def __init__(self, pool: Pool, title: str, *, made: bool = False) -> None:
        self._pool, self._title, self._made = pool, title, made
        engine = pool.engine
        self._tray = Tray(engine)
        try:
            pool.prepare(self._tray, made=made)
        except BaseException:
            self._tray.close()
            raise
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.profiles, self.values = engine.profiles, engine.values

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``Runner.run``."""
        self._tray.fill(input_checks.fitting(feeds, self.inputs, self.profiles, self.values))
        return self._run()

    def run_filled(self, shapes: Shapes, fill: input_checks.Fill) -> dict[str, np.ndarray]:
        """See ``Runner.run_filled``."""
        fill(self._tray.lay(shapes))
        return self._run()

    def run_made(self, shapes: Shapes, make: input_checks.Make) -> dict[str, np.ndarray]:
        """``run``, of the only input's samples that ``make`` has kernels make on the device.

        Raises:
            UsageError: a shape outside the profiles.
        """
        make(self._tray.lay_made(*next(iter(shapes.items()))))
        return self._run()

    def describe(self) -> str:
        """See ``Runner.describe``."""
        return self._title

    def memory(self) -> int:
        """See ``Runner.memory``."""
        return self._pool.engine.memory_used()

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU current in this thread."""
        return self._pool.engine.device.current()

    def fork(self) -> PooledRunner:
        """A way to the same contexts for another thread."""
        return PooledRunner(self._pool, self._title, made=self._made)

    def close(self) -> None:
        """Free its tray."""
        self._tray.close()

    def _run(self) -> dict[str, np.ndarray]:
        self._pool.run(self._tray)
        return self._tray.outputs()
