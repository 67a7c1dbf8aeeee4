"""PyTorch beside engines: a network eager or compiled, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from trtconv.adapters import guest_model
from trtconv.core.events import Emit, Event, Progress
from trtconv.core.records import SourceSpec
from trtconv.sources.pytorch.convert import request_for
from trtconv.sources.pytorch.formats import RIVALS
from trtconv.sources.pytorch.needs import NEEDS
from trtconv.sources.records import Prepared, Way

_TIMING = "trtconv.sources.pytorch.timing"
_RUNS = ("fp32", "tf32", "fp16", "bf16")
"""Precisions that a network of FP32 has in PyTorch without being quantized by other means."""


class TimedNetwork:
    """See ``records.Timed``.

    Args:
        spec: of the source.
        device: ``gpu`` or ``cpu``.
        emit: gets what the process tells.

    Raises:
        EnvironmentProblem: no PyTorch in the interpreter that is named.
    """

    def __init__(self, spec: SourceSpec, device: str, emit: Emit) -> None:
        self._spec, self._emit = spec, emit
        self._begun: Callable[[], None] | None = None
        self._guest = guest_model.start(spec, _TIMING, NEEDS, self._hear)
        self._place = device
        self.framework = self.device = self.uuid = self.problem = ""

    def look(self) -> None:
        """Import PyTorch, and see whether it can run there: the other attributes are told then."""
        told = self._guest.call("device", {"device": self._place})
        self.framework, self.device = told["framework"], told["device"]
        self.uuid, self.problem = told["uuid"], told["problem"]

    def lacks(self, precision: str) -> str:
        """See ``records.Timed``."""
        return (
            "" if precision in _RUNS else f"PyTorch runs no {precision} form of this network: it is not quantized there"
        )

    def prepare(self, way: Way, feeds: Mapping[str, np.ndarray]) -> Prepared:
        """See ``records.Timed``.

        Raises:
            ConversionError: PyTorch does not compile it.
            EnvironmentProblem: it does not run, or is not compiled, here.
        """
        given, results = self._guest.folder / "feeds.npz", self._guest.folder / "results.npz"
        np.savez(given, **{f"a{number}": array for number, array in enumerate(feeds.values())})  # type: ignore[arg-type]
        asked = {
            "feeds": given,
            "names": list(feeds),
            "results": results,
            "device": way.device,
            "precision": way.precision,
            "compiled": RIVALS[way.name],
            "graph": way.graph,
        }
        told = self._guest.call("prepare", {**request_for(self._spec), **asked})
        names, notes = told.pop("outputs"), tuple(told.pop("notes"))
        with np.load(results) as stored:
            arrays = [stored[f"a{number}"] for number in range(2 * len(names))]
        wanted, made = (dict(zip(names, part, strict=True)) for part in (arrays[: len(names)], arrays[len(names) :]))
        return Prepared(wanted, made, {name: value for name, value in told.items() if value != ""}, notes)

    def measure(
        self, rules: Mapping[str, bool], limits: tuple[float, float, int], begun: Callable[[], None]
    ) -> tuple[list[tuple[float, float, float]], int | None]:
        """See ``records.Timed``."""
        self._begun = begun
        bounds = dict(zip(("warmup", "duration", "iterations"), limits, strict=True))
        told = self._guest.call("measure", {**rules, **bounds})
        return [(start, end, latency) for start, end, latency in told["times"]], told["memory"]

    def close(self) -> None:
        """See ``records.Timed``."""
        self._guest.close()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Progress) and self._begun is not None:
            self._begun()
        else:
            self._emit(event)
