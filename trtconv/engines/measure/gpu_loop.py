"""Measures an engine as trtexec does: GPU events, copies beside computation, several queries in flight.

The loop, the events and their order follow NVIDIA/TensorRT samples/common/sampleInference.cpp: each context has a
stream for copies in, one for computation and one for copies out, linked by events. A turn waits for the queries that
used its slots before and enqueues new ones; with two slots per context, that is trtexec's two queries in flight.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from trtconv.adapters.cuda import Device, Event
from trtconv.engines.measure.semantics import Limits, Query, Rules
from trtconv.engines.run.host_buffers import Tray
from trtconv.engines.run.slots import OnGpu, slot_of

_WARM = 2  # runs before anything counts: kernels are compiled and graphs captured in them
_TELL = 0.1  # seconds between two calls of ``tell``


@dataclass(frozen=True)
class Recorded:
    """What a measurement gives.

    Attributes:
        queries: whose computation began after the warm-up, in the order they were waited for.
        graph: whether runs were replayed from CUDA graphs.
        note: why they were not, though the rules want it.
        partial: whether it was stopped early.
    """

    queries: list[Query]
    graph: bool
    note: str
    partial: bool = False


def measure(
    engine: OnGpu,
    feeds: Mapping[str, np.ndarray],
    rules: Rules,
    limits: Limits,
    streams: int,
    tell: Callable[[float], None],
    stop: threading.Event | None = None,
) -> Recorded:
    """Run an engine back to back.

    Args:
        engine: what to run.
        feeds: inputs of every query; they fix the shapes.
        rules: copies, waiting, graphs, depth, whether contexts take turns together.
        limits: how long.
        streams: contexts.
        tell: gets the seconds since the start, about ten times a second; first 0.0, when everything is ready.
        stop: ends it early, once set.
    """
    with prepared(engine, feeds, rules, streams) as ready:
        tell(0.0)
        return ready.measure(limits, tell, stop)


@contextlib.contextmanager
def prepared(engine: OnGpu, feeds: Mapping[str, np.ndarray], rules: Rules, streams: int) -> Iterator[Prepared]:
    """Contexts that are ready to run, for one measurement or several; see ``measure``."""
    with contextlib.ExitStack() as stack:
        lanes = [stack.enter_context(_lane(engine, feeds, rules)) for _ in range(streams)]
        yield Prepared(engine.device, lanes, rules)


class Prepared:
    """See ``prepared``.

    Attributes:
        queries: what is in flight at once: contexts with their device memory, and their pinned memory.
    """

    def __init__(self, device: Device, lanes: list[_Lane], rules: Rules) -> None:
        self._device, self._lanes, self._rules = device, lanes, rules
        self.queries = [(flight.slot, flight.tray) for lane in lanes for flight in lane.flights]

    def measure(self, limits: Limits, tell: Callable[[float], None], stop: threading.Event | None = None) -> Recorded:
        """Run back to back; see ``gpu_loop.measure``."""
        with _no_collection():
            race = _Race(self._device, self._lanes, self._rules, limits, stop or threading.Event())
            race.run(tell)
        note = next((lane.note for lane in self._lanes if lane.note), "")
        return Recorded(race.counted, all(slot.replays for slot, _ in self.queries), note, race.partial)


class _Flight:
    """A slot with its tray and the events of its query."""

    def __init__(self, engine: OnGpu, lane: _Lane, rules: Rules) -> None:
        self.device, self.lane, self.rules = engine.device, lane, rules
        self.slot, self.tray = slot_of(engine, lasting=True), Tray(engine)
        waited = 5 if rules.transfers else 3  # one that can be slept for interrupts the host whenever it is reached
        self.events = [self.device.event(spin=rules.spin or number != waited) for number in range(6)]
        self.in_start, self.in_end, self.start, self.end, self.out_start, self.out_end = self.events
        self.waited = self.events[waited]
        self.before, self.after = self.device.script(), self.device.script()  # of a run
        self.took = 0.0

    def make_ready(self, feeds: Mapping[str, np.ndarray]) -> str:
        """Compile, capture if the rules want it, and write down what is enqueued; why it was not captured."""
        slot, compute, note = self.slot, self.lane.compute, ""
        self.tray.fill(feeds)
        slot.fit(self.tray, compute)
        slot.copy_in(self.tray, compute)
        for _ in range(_WARM):
            slot.compute(compute)
        compute.synchronize()
        if self.rules.graph:
            note = slot.capture()
            slot.compute(compute)
            compute.synchronize()
        self._compute = slot.again(compute)
        self._write()
        return note

    def count_from(self, origin: Event) -> None:
        """Times of further queries count from this event."""
        whole = (self.in_start, self.out_end) if self.rules.transfers else (self.start, self.end)
        pairs = [(origin, event) for event in (*whole, self.start)] + [(self.start, self.end)]
        if self.rules.transfers:
            pairs += [(self.in_start, self.in_end), (self.out_start, self.out_end)]
        self._spans = self.device.spans(pairs)

    def enqueue(self) -> None:
        """Begin a query."""
        self.before.run()
        began = time.perf_counter()
        self._compute()
        self.took = (time.perf_counter() - began) * 1e3
        self.after.run()

    def query(self) -> Query:
        """Wait for it."""
        self.waited.synchronize()
        if not self.rules.transfers:
            first, last, start, compute = self._spans()
            return Query(first, last, compute, None, compute, None, self.took, start)
        first, last, start, compute, h2d, d2h = self._spans()
        latency = h2d + compute + d2h if self.rules.together else last - first
        return Query(first, last, latency, h2d, compute, d2h, self.took, start)

    def close(self) -> None:
        for event in self.events:
            event.close()
        self.slot.close()
        self.tray.close()

    def _write(self) -> None:
        before, after, lane, copies = self.before, self.after, self.lane, self.slot.copies(self.tray)
        if self.rules.transfers:
            before.record(self.in_start, lane.copy_in)
            if copies is None:
                before.call(self.slot.copy_in, self.tray, lane.copy_in)
            else:
                for address, host in copies[0]:
                    before.copy_in(lane.copy_in, address, host)
            before.record(self.in_end, lane.copy_in)
            before.wait(lane.compute, self.in_end)
        before.record(self.start, lane.compute)
        after.record(self.end, lane.compute)
        if self.rules.transfers:
            after.wait(lane.copy_out, self.end)
            after.record(self.out_start, lane.copy_out)
            if copies is None:
                after.call(self.slot.copy_out, self.tray, lane.copy_out)
            else:
                for address, host in copies[1]:
                    after.copy_out(lane.copy_out, host, address)
            after.record(self.out_end, lane.copy_out)


class _Lane:
    """A context's streams and the queries that are in flight on them."""

    def __init__(self, device: Device) -> None:
        self.copy_in, self.compute, self.copy_out = self.streams = [device.stream() for _ in range(3)]
        self.flights: list[_Flight] = []
        self.note = ""

    def add(self, engine: OnGpu, feeds: Mapping[str, np.ndarray], rules: Rules) -> None:
        self.flights.append(_Flight(engine, self, rules))
        self.note = self.flights[-1].make_ready(feeds)

    def close(self) -> None:
        for stream in self.streams:
            stream.synchronize()
        for flight in self.flights:
            flight.close()
        for stream in self.streams:
            stream.close()


@contextlib.contextmanager
def _lane(engine: OnGpu, feeds: Mapping[str, np.ndarray], rules: Rules) -> Iterator[_Lane]:
    lane = _Lane(engine.device)
    try:
        for _ in range(rules.depth):
            lane.add(engine, feeds, rules)
        yield lane
    finally:
        lane.close()


class _Race:
    """The loop itself: turns of queries, waited for when their slots are needed again."""

    def __init__(self, device: Device, lanes: list[_Lane], rules: Rules, limits: Limits, stop: threading.Event) -> None:
        self.limits, self.stop = limits, stop
        layers = [[lane.flights[depth] for lane in lanes] for depth in range(rules.depth)]
        self.ring = layers if rules.together else [[flight] for layer in layers for flight in layer]
        self.wanted = limits.iterations * (1 if rules.together else len(lanes))
        self.number = self.skipped = 0
        self.elapsed, self.warm = 0.0, limits.warmup * 1e3
        self.partial = False
        self.counted: list[Query] = []
        self.origin = device.event(spin=rules.spin)
        self.origin.record(lanes[0].compute)
        for lane in lanes:
            for stream in lane.streams:
                stream.wait(self.origin)
            for flight in lane.flights:
                flight.count_from(self.origin)

    def run(self, tell: Callable[[float], None]) -> None:
        """Until the limits are reached, or it is stopped; then what is still under way is collected."""
        try:
            self.loop(tell)
            for late in range(max(self.number - len(self.ring), 0), self.number):
                self.collect(self.ring[late % len(self.ring)])
        finally:
            self.origin.close()

    def loop(self, tell: Callable[[float], None]) -> None:
        until = (self.limits.warmup + self.limits.duration) * 1e3
        clock, told, size = time.monotonic, time.monotonic(), len(self.ring)
        while self.number < self.wanted + self.skipped or self.elapsed < until:
            flights = self.ring[self.number % size]
            if self.number >= size:
                self.skipped += not self.collect(flights)
            for flight in flights:
                flight.enqueue()
            self.number += 1
            if (now := clock()) - told >= _TELL:
                told = now
                tell(self.elapsed / 1e3)
                if self.stop.is_set():
                    self.partial = True
                    break

    def collect(self, flights: list[_Flight]) -> bool:
        """Wait for the queries of one turn and keep those after the warm-up; whether all of them were."""
        kept = 0
        for flight in flights:
            query = flight.query()
            if query.compute_start is not None and query.compute_start >= self.warm:
                self.counted.append(query)
                kept += 1
            if query.end > self.elapsed:
                self.elapsed = query.end
        return kept == len(flights)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Python's garbage collector would stop the loop at moments of its own."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
