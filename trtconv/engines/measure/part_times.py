"""How long each part of a model takes, and the copies at its borders, in runs of their own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from trtconv.adapters.cuda import Device, Event, Stream
from trtconv.core.records import PartTime
from trtconv.engines.measure.statistics import median
from trtconv.engines.run.engine import Engine
from trtconv.engines.run.host_buffers import Tray
from trtconv.engines.run.parts_engine import PartsEngine
from trtconv.engines.run.parts_execution import PartsSlot
from trtconv.engines.run.parts_runner import PartsRunner
from trtconv.engines.run.runner import EngineRunner, Runner

_WARM, _RUNS = 3, 20


def measure(runner: Runner, feeds: Mapping[str, np.ndarray]) -> tuple[PartTime, ...]:
    """Times of all parts in the order in which they run, without CUDA graphs; none of a model that is whole.

    Args:
        runner: of the model.
        feeds: inputs of every run.
    """
    if isinstance(runner, PartsRunner):
        return _on_cpu(runner, feeds)
    if isinstance(runner, EngineRunner) and isinstance(runner.engine, PartsEngine):
        return _on_gpu(runner.engine, feeds)
    return ()


def _on_cpu(runner: PartsRunner, feeds: Mapping[str, np.ndarray]) -> tuple[PartTime, ...]:
    seconds: dict[str, list[float]] = {}
    told = runner.told
    runner.run(feeds)
    runner.told = lambda name, spent: seconds.setdefault(name, []).append(spent)
    try:
        for _ in range(_RUNS):
            runner.run(feeds)
    finally:
        runner.told = told
    return tuple(PartTime(name, "CPU", 1e3 * median(sorted(found))) for name, found in seconds.items())


@dataclass
class _Laps:
    """Times of all that is done for the parts of one run, by part and kind."""

    device: Device
    marks: list[tuple[str, str, Event, Event]] = field(default_factory=list)
    spent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    now: dict[tuple[str, str], float] = field(default_factory=dict)
    sizes: dict[tuple[str, str], int] = field(default_factory=dict)

    @contextlib.contextmanager
    def span(self, part: str, what: str, stream: Stream, size: int) -> Iterator[None]:
        """Around what is done for a part."""
        self.sizes[part, what] = self.sizes.get((part, what), 0) + size
        if what == "host":
            began = time.perf_counter()
            yield
            self.add(part, what, 1e3 * (time.perf_counter() - began))
            return
        first, last = self.device.event(), self.device.event()
        first.record(stream)
        yield
        last.record(stream)
        self.marks.append((part, what, first, last))

    def add(self, part: str, what: str, ms: float) -> None:
        self.now[part, what] = self.now.get((part, what), 0.0) + ms

    def end(self, *, counts: bool) -> None:
        """A run is over: everything enqueued is done."""
        for part, what, first, last in self.marks:
            self.add(part, what, last.since(first))
            first.close()
            last.close()
        self.marks.clear()
        for key, ms in self.now.items() if counts else ():
            self.spent.setdefault(key, []).append(ms)
        self.now = {}
        if not counts:
            self.sizes = {}

    def ms(self, part: str, what: str) -> float:
        """The median over the runs; 0 where nothing was done."""
        found = self.spent.get((part, what))
        return median(sorted(found)) if found else 0.0


def _on_gpu(engine: PartsEngine, feeds: Mapping[str, np.ndarray]) -> tuple[PartTime, ...]:
    slot, tray, stream = PartsSlot(engine, lasting=True), Tray(engine), engine.device.stream()
    laps = _Laps(engine.device)
    try:
        tray.fill(feeds)
        slot.span = laps.span
        for number in range(_WARM + _RUNS):
            slot.fit(tray, stream)
            slot.copy_in(tray, stream)
            slot.compute(stream)
            slot.copy_out(tray, stream)
            stream.synchronize()
            laps.end(counts=number >= _WARM)
    finally:
        for each in (slot, tray, stream):
            each.close()
    return tuple(_of(laps, step.name, on_gpu=isinstance(step.runner, Engine)) for step in engine.steps)


def _of(laps: _Laps, name: str, *, on_gpu: bool) -> PartTime:
    return PartTime(
        name=name,
        on="GPU" if on_gpu else "CPU",
        ms=laps.ms(name, "compute" if on_gpu else "host"),
        h2d_ms=laps.ms(name, "h2d"),
        d2h_ms=laps.ms(name, "d2h"),
        h2d_bytes=laps.sizes.get((name, "h2d"), 0) // _RUNS,
        d2h_bytes=laps.sizes.get((name, "d2h"), 0) // _RUNS,
    )
