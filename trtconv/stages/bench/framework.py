"""The source's own framework, measured as its engines are: ways that get ready beside each other, then one by one."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from trtconv.core import quiet
from trtconv.core.errors import TrtconvError, UsageError
from trtconv.core.events import Emit, Event, Message
from trtconv.stages.bench.framework_records import FrameworkRequest, FrameworkResult, FrameworkRun

if TYPE_CHECKING:
    import numpy as np

    from trtconv.engines.measure.semantics import Query, Rules
    from trtconv.sources.records import Prepared, Timed

_EVERY = 0.1  # seconds between two looks at threads, so that Ctrl-C is heard


def framework(request: FrameworkRequest, emit: Emit) -> FrameworkResult:
    """Run the source in every way that is asked for, at every batch size; what cannot be measured is told as well.

    Raises:
        UsageError: samples that do not fit, or fewer than a batch.
        EnvironmentProblem: no framework in the interpreter that is named.
    """
    from trtconv.engines.measure.semantics import RULES, changed

    told = threading.Lock()

    def tell(event: Event) -> None:
        with told:
            emit(event)

    bench = request.bench
    rules = changed(RULES[bench.semantics], bench.rules)
    feeds = {batch: _feeds(request, batch) for batch in bench.batches}
    ways = [_Way(request, rules, name, batch, feeds[batch], tell) for name in request.names for batch in feeds]
    ways[0].start()
    ways[0].look()
    for wave in _waves(ways):
        if ways[0].problem:  # of the machine, or the precision: it is that of all
            break
        with quiet.preparing(tell):
            tell(Message(f"{len(wave)} ways to run the source get ready"))
            _beside_each_other(wave)
        with quiet.measuring(tell):
            for way in wave:
                way.measure()
    ways[0].close()
    machine = ways[0]
    return FrameworkResult(request.precision, tuple(way.result(machine) for way in ways))


def _waves(ways: Sequence[_Way]) -> Iterator[Sequence[_Way]]:
    """As many at a time as there are processors: compilers take long, and share nothing."""
    count = max(1, len(os.sched_getaffinity(0)))
    for start in range(0, len(ways), count):
        yield ways[start : start + count]


def _beside_each_other(wave: Sequence[_Way]) -> None:
    for way in wave:
        way.start()
    threads = [threading.Thread(target=way.prepare, daemon=True) for way in wave]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(_EVERY)


@dataclasses.dataclass
class _Way:
    """One way at one batch size, from its inputs to its figures."""

    request: FrameworkRequest
    rules: Rules
    name: str
    batch: int
    feeds: Mapping[str, np.ndarray]
    emit: Emit
    timed: Timed | None = None
    prepared: Prepared | None = None
    problem: str = ""
    seconds: float = 0.0
    memory: int | None = None
    queries: Sequence[Query] = ()
    power: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    where: tuple[str, str] = ("", "")

    def start(self) -> None:
        """A process; from the main thread, which hears Ctrl-C."""
        from trtconv import sources
        from trtconv.core.lazy import resolve

        if self.timed is None:
            made = resolve(sources.of(self.request.source).times)
            self.timed = made(self.request.source, self.request.device, self.emit)

    def look(self) -> None:
        """Whether it can run here, in this precision."""
        assert self.timed is not None
        self.timed.look()
        self.where = self.timed.framework, self.timed.device
        self.problem = self.timed.lacks(self.request.precision) or self.timed.problem

    def prepare(self) -> None:
        """Open, place, compile and warm it; what fails is kept."""
        from trtconv.sources.records import Way

        assert self.timed is not None
        began = time.perf_counter()
        way = Way(self.name, self.request.precision, self.request.device, self.rules.graph)
        try:
            self.look()
            self.prepared = self.timed.prepare(way, self.feeds)
        except TrtconvError as error:
            self.problem = error.message.partition("\n")[0]
        self.seconds = time.perf_counter() - began

    def measure(self) -> None:
        """Time it alone, and end its process."""
        from trtconv.engines.measure.power import Watch
        from trtconv.engines.measure.semantics import Query

        if self.prepared is not None and self.timed is not None:
            bench, gpu = self.request.bench, self.request.device == "gpu"
            rules = {name: getattr(self.rules, name) for name in ("wall_clock", "transfers", "spin")}
            limits = bench.warmup, bench.duration, bench.iterations
            with Watch(self.timed.uuid) as watch:
                try:
                    times, self.memory = self.timed.measure(rules, limits, watch.begin)
                    by_gpu = gpu and not self.rules.wall_clock
                    self.queries = [Query(a, b, ms, compute=ms if by_gpu else None) for a, b, ms in times]
                except TrtconvError as error:
                    self.problem = error.message.partition("\n")[0]
            self._see_power(watch if gpu else None)
        self.close()

    def close(self) -> None:
        """End its process."""
        if self.timed is not None:
            self.timed.close()

    def _see_power(self, watch: Any) -> None:
        from trtconv.stages.bench import figures

        drawn = None if watch is None else watch.drawn()
        if watch is not None and watch.problem:
            self.notes.append(f"no power, clocks or temperature: {watch.problem}")
        if drawn is not None and self.queries:
            self.notes += drawn.notes()
            rate = figures.measurement(self.batch, self.queries, (50,), graph=False).throughput
            self.power = figures.power(drawn, rate)

    def result(self, machine: _Way) -> FrameworkRun:
        """What it came to."""
        version, device = self.where if self.where[0] else machine.where
        problem = self.problem or machine.problem
        run = FrameworkRun(self.name, self.batch, f"{version} on {device}", problem, seconds=self.seconds)
        if problem or self.prepared is None:
            return run
        from trtconv.stages.bench import figures

        outputs, agreement = _differences(self.prepared, self.batch)
        measured = figures.measurement(self.batch, self.queries, self.request.bench.percentiles, graph=False)
        return dataclasses.replace(
            run,
            measurement=dataclasses.replace(measured, power=self.power),
            memory=self.memory,
            conditions={**self._conditions(), **self.prepared.conditions},
            outputs=outputs,
            agreement=agreement,
            notes=(*self.prepared.notes, *self.notes),
        )

    def _conditions(self) -> dict[str, Any]:
        gpu = self.request.device == "gpu"
        clock = "GPU events" if gpu and not self.rules.wall_clock else "host"
        return {"clock": clock, "transfers": gpu and (self.rules.transfers or self.rules.wall_clock)}


def _differences(prepared: Prepared, batch: int) -> tuple[tuple[Any, ...], float | None]:
    """Per output, and the share of samples with the same class in the first output that has classes."""
    from trtconv.data import compare

    found, agreement = [], None
    for name, wanted in prepared.wanted.items():
        meter = compare.OutputMeter(name)
        meter.add(wanted, prepared.made[name])
        found.append(meter.comparison())
        right, answered = (compare.classes(array, batch) for array in (wanted, prepared.made[name]))
        if agreement is None and right is not None and answered is not None:
            agreement = 100 * float((right == answered).mean())
    return tuple(found), agreement


def _feeds(request: FrameworkRequest, batch: int) -> dict[str, np.ndarray]:
    """The inputs that the engine is measured with, as the source takes them."""
    from trtconv.data import conversion_check
    from trtconv.data.feeds import open_feed
    from trtconv.engines.measure import synthetic
    from trtconv.stages.bench import batches

    bench, spans = request.bench, request.profiles.get(batch, ())
    like: Any = SimpleNamespace(inputs=request.inputs, profiles=spans, values=())
    if bench.data is None:
        found = synthetic.feeds(request.inputs, batches.shapes(like, None, batch), {})
    else:
        feed = open_feed(bench.data, request.inputs)
        if len(feed) < batch:
            raise UsageError(
                f"a batch of {batch} was asked for, and there are {len(feed)} samples",
                hint="measure smaller batches, or leave the data out for random inputs",
            )
        found = next(feed.batches(batch))
    return {name: conversion_check.to_last(one) if name in request.first else one for name, one in found.items()}
