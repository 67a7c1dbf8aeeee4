"""What a GPU draws while something is measured on it: read in the background, from the warm-up to the last query."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from trtconv.adapters import nvml
from trtconv.core.errors import EnvironmentProblem

_EVERY = 0.05  # seconds between two readings
_MOVED = 0.02  # share by which the SM clock may change unremarked


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        seconds: of the window.
        watts: mean power, integrated over the readings.
        joules: by the GPU's own counter; None where it has none.
        joules_integrated: power over time.
        sm_mhz: lowest and highest SM clock.
        memory_mhz: lowest and highest memory clock.
        temperature: highest, in degrees Celsius.
        throttles: what lowered the clocks.
    """

    seconds: float
    watts: float
    joules: float | None
    joules_integrated: float
    sm_mhz: tuple[float, float] | None
    memory_mhz: tuple[float, float] | None
    temperature: float | None
    throttles: tuple[str, ...]

    def notes(self) -> list[str]:
        """What a reader of times must know of the clocks."""
        found = [f"the GPU lowered its clocks: {', '.join(self.throttles)}"] if self.throttles else []
        if self.sm_mhz and self.sm_mhz[0] < (1 - _MOVED) * self.sm_mhz[1]:
            found.append(f"the SM clock moved between {self.sm_mhz[0]:.0f} and {self.sm_mhz[1]:.0f} MHz")
        return found


@dataclass
class Watch:
    """Reads a GPU from ``begin`` until the block ends; ``problem`` says why there is nothing to read.

    Attributes:
        uuid: of the GPU.
        problem: empty where NVML works.
    """

    uuid: str
    problem: str = ""
    _readings: list[tuple[float, nvml.Reading]] = field(default_factory=list)
    _begun: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            gpu = nvml.Gpu(self.uuid)
        except EnvironmentProblem as problem:
            self.problem = problem.message
            return self
        self._thread = threading.Thread(target=self._work, args=(gpu,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._begun.set()
        if self._thread is not None:
            self._thread.join()

    def begin(self) -> None:
        """From now on it counts."""
        self._begun.set()

    def drawn(self) -> Drawn | None:
        """Everything, after the block; None without two readings of the power."""
        powers = [(when, reading.power) for when, reading in self._readings if reading.power is not None]
        if len(powers) < 2:
            return None
        seconds = powers[-1][0] - powers[0][0]
        joules = sum((t1 - t0) * (p0 + p1) / 2 for (t0, p0), (t1, p1) in itertools.pairwise(powers))
        readings = [reading for _, reading in self._readings]
        bits = 0
        for reading in readings:
            bits |= reading.throttles
        first, last = readings[0].energy, readings[-1].energy
        return Drawn(
            seconds=seconds,
            watts=joules / seconds,
            joules=None if first is None or last is None else last - first,
            joules_integrated=joules,
            sm_mhz=_range([reading.sm_clock for reading in readings]),
            memory_mhz=_range([reading.memory_clock for reading in readings]),
            temperature=max(
                (reading.temperature for reading in readings if reading.temperature is not None), default=None
            ),
            throttles=tuple(text for bit, text in nvml.THROTTLES.items() if bits & bit),
        )

    def _work(self, gpu: nvml.Gpu) -> None:
        self._begun.wait()
        while not self._ended.is_set():
            self._readings.append((time.perf_counter(), gpu.read()))
            self._ended.wait(_EVERY)
        self._readings.append((time.perf_counter(), gpu.read()))
        gpu.close()


def _range(values: list[float | None]) -> tuple[float, float] | None:
    there = [value for value in values if value is not None]
    return (min(there), max(there)) if there else None
