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
    with contextlib.ExitStack() as stack:
        lanes = [stack.enter_context(_lane(engine, feeds, rules)) for _ in range(streams)]
        tell(0.0)
        with _no_collection():
            race = _Race(engine.device, lanes, rules, limits, stop or threading.Event())
            race.run(tell)
        note = next((lane.note for lane in lanes if lane.note), "")
        return Recorded(
            race.counted, all(flight.slot.replays for lane in lanes for flight in lane.flights), note, race.partial
        )


class _Flight:
    """A slot with its tray and the events of its query."""

    def __init__(self, engine: OnGpu, rules: Rules) -> None:
        self.slot, self.tray = slot_of(engine), Tray(engine)
        waited = (
            5 if rules.transfers else 3
        )  # an event that can be slept for interrupts the host whenever it is reached
        self.events = [engine.device.event(spin=rules.spin or number != waited) for number in range(6)]
        self.in_start, self.in_end, self.start, self.end, self.out_start, self.out_end = self.events
        self.enqueue = 0.0

    def query(self, origin: Event, rules: Rules) -> Query:
        """Times of the query that just ended."""
        start, compute = self.start.since(origin), self.end.since(self.start)
        if not rules.transfers:
            return Query(
                start=start,
                end=start + compute,
                latency=compute,
                h2d=None,
                compute=compute,
                d2h=None,
                enqueue=self.enqueue,
                compute_start=start,
            )
        h2d, d2h = self.in_end.since(self.in_start), self.out_end.since(self.out_start)
        first, last = self.in_start.since(origin), self.out_end.since(origin)
        latency = h2d + compute + d2h if rules.together else last - first
        return Query(
            start=first,
            end=last,
            latency=latency,
            h2d=h2d,
            compute=compute,
            d2h=d2h,
            enqueue=self.enqueue,
            compute_start=start,
        )

    def close(self) -> None:
        for event in self.events:
            event.close()
        self.slot.close()
        self.tray.close()


class _Lane:
    """A context's streams and the queries that are in flight on them."""

    def __init__(self, engine: OnGpu, rules: Rules) -> None:
        device = engine.device
        self.transfers = rules.transfers
        self.copy_in, self.compute, self.copy_out = (device.stream() for _ in range(3))
        self.flights: list[_Flight] = []
        self.note = ""

    def add(self, engine: OnGpu, feeds: Mapping[str, np.ndarray], rules: Rules) -> None:
        flight = _Flight(engine, rules)
        self.flights.append(flight)
        slot, tray = flight.slot, flight.tray
        tray.fill(feeds)
        slot.fit(tray, self.compute)
        slot.copy_in(tray, self.compute)
        for _ in range(_WARM):
            slot.compute(self.compute)
        self.compute.synchronize()
        if rules.graph:
            self.note = slot.capture()
            slot.compute(self.compute)
            self.compute.synchronize()

    def enqueue(self, flight: _Flight) -> None:
        slot, compute = flight.slot, self.compute
        if self.transfers:
            flight.in_start.record(self.copy_in)
            slot.copy_in(flight.tray, self.copy_in)
            flight.in_end.record(self.copy_in)
            compute.wait(flight.in_end)
        flight.start.record(compute)
        began = time.perf_counter()
        slot.compute(compute)
        flight.enqueue = (time.perf_counter() - began) * 1e3
        flight.end.record(compute)
        if self.transfers:
            self.copy_out.wait(flight.end)
            flight.out_start.record(self.copy_out)
            slot.copy_out(flight.tray, self.copy_out)
            flight.out_end.record(self.copy_out)

    def wait(self, flight: _Flight) -> None:
        (flight.out_end if self.transfers else flight.end).synchronize()

    def close(self) -> None:
        for stream in (self.copy_in, self.compute, self.copy_out):
            stream.synchronize()
        for flight in self.flights:
            flight.close()
        for stream in (self.copy_in, self.compute, self.copy_out):
            stream.close()


@dataclass(frozen=True)
class _Turn:
    """One slot's part in a turn."""

    lane: _Lane
    flight: _Flight


@contextlib.contextmanager
def _lane(engine: OnGpu, feeds: Mapping[str, np.ndarray], rules: Rules) -> Iterator[_Lane]:
    lane = _Lane(engine, rules)
    try:
        for _ in range(rules.depth):
            lane.add(engine, feeds, rules)
        yield lane
    finally:
        lane.close()


class _Race:
    """The loop itself: turns of queries, waited for when their slots are needed again."""

    def __init__(self, device: Device, lanes: list[_Lane], rules: Rules, limits: Limits, stop: threading.Event) -> None:
        self.rules, self.limits, self.stop = rules, limits, stop
        layers = [[_Turn(lane, lane.flights[depth]) for lane in lanes] for depth in range(rules.depth)]
        self.ring = layers if rules.together else [[turn] for layer in layers for turn in layer]
        self.wanted = limits.iterations * (1 if rules.together else len(lanes))
        self.number = self.skipped = 0
        self.elapsed, self.warm = 0.0, limits.warmup * 1e3
        self.partial = False
        self.counted: list[Query] = []
        self.origin = device.event(spin=rules.spin)
        self.origin.record(lanes[0].compute)
        for lane in lanes:
            for stream in (lane.copy_in, lane.compute, lane.copy_out):
                stream.wait(self.origin)

    def run(self, tell: Callable[[float], None]) -> None:
        """Until the limits are reached, or it is stopped; then what is still under way is collected."""
        try:
            self.loop(tell)
            for late in range(max(self.number - len(self.ring), 0), self.number):
                self.collect(late % len(self.ring))
        finally:
            self.origin.close()

    def loop(self, tell: Callable[[float], None]) -> None:
        until = (self.limits.warmup + self.limits.duration) * 1e3
        told, size = time.monotonic(), len(self.ring)
        while self.number < self.wanted + self.skipped or self.elapsed < until:
            if self.stop.is_set():
                self.partial = True
                break
            if self.number >= size:
                self.skipped += not self.collect(self.number % size)
            for turn in self.ring[self.number % size]:
                turn.lane.enqueue(turn.flight)
            self.number += 1
            if time.monotonic() - told >= _TELL:
                told = time.monotonic()
                tell(self.elapsed / 1e3)

    def collect(self, place: int) -> bool:
        """Wait for the queries of one turn and keep those after the warm-up; whether all of them were."""
        counted = len(self.counted)
        for turn in self.ring[place]:
            turn.lane.wait(turn.flight)
            query = turn.flight.query(self.origin, self.rules)
            if query.compute_start is not None and query.compute_start >= self.warm:
                self.counted.append(query)
            self.elapsed = max(self.elapsed, query.end)
        return len(self.counted) - counted == len(self.ring[place])


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
