"""GPU memory of a benchmark: figures of one moment, at its steadiest and at its most."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from trtconv.adapters import nvml
from trtconv.core.errors import EnvironmentProblem
from trtconv.engines.run.slots import OnGpu

Parts = dict[str, int]


@dataclass
class Seen:
    """What was seen of an engine's memory.

    Attributes:
        engine: the model.
        steady: bytes by ``engine``, ``contexts`` and ``process``, of the measurement that took most; empty before any.
        peak: the same of the moment that took most, while settings were tried too.
    """

    engine: OnGpu
    steady: Parts = field(default_factory=dict)
    peak: Parts = field(default_factory=dict)

    def look(self, *, trial: bool = False) -> None:
        """At a moment when everything is allocated, and nothing runs yet.

        Args:
            trial: whether settings are only tried.
        """
        used, loaded = self.engine.memory_used(), self.engine.memory_loaded
        parts = {"engine": loaded, "contexts": max(used - loaded, 0), **self._process()}
        if _more(parts, self.peak):
            self.peak = parts
        if not trial and _more(parts, self.steady):
            self.steady = parts

    def _process(self) -> Parts:
        with contextlib.suppress(EnvironmentProblem), contextlib.closing(nvml.Gpu(self.engine.device.gpu.uuid)) as gpu:
            process = gpu.process_memory()
            return {} if process is None else {"process": process}
        return {}


def total(parts: Parts) -> int | None:
    """Bytes of an engine and its contexts; None where nothing was seen."""
    return parts["engine"] + parts["contexts"] if parts else None


def _more(parts: Parts, than: Parts) -> bool:
    return not than or parts["engine"] + parts["contexts"] > than["engine"] + than["contexts"]
