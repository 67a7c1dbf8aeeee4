"""How long each layer of an engine takes, in a run of its own: measuring layers slows the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trtconv.adapters import tensorrt
from trtconv.engines.run.host_buffers import Tray
from trtconv.engines.run.slots import OnGpu, slot_of

_WARM, _RUNS = 3, 50


@dataclass(frozen=True)
class LayerTime:
    """One layer.

    Attributes:
        name: as TensorRT calls it.
        ms: the least of its times, in milliseconds.
        runs: all of them.
    """

    name: str
    ms: float
    runs: tuple[float, ...] = ()


def measure(engine: OnGpu, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
    """Times of all layers in runs without CUDA graph, in the order of execution.

    The least of some runs: what measuring does to a layer, it only adds.
    """
    times: dict[str, list[float]] = {}
    slot, tray, stream = slot_of(engine, lasting=True), Tray(engine), engine.device.stream()
    try:
        tray.fill(feeds)
        slot.fit(tray, stream)
        slot.copy_in(tray, stream)
        for _ in range(_WARM):
            slot.compute(stream)
        stream.synchronize()
        for of, context in slot.contexts.items():  # they report as soon as a run is enqueued, which waits for it
            context.profiler = tensorrt.profiler(engine.loaded.api, _collector(times, of))
        for _ in range(_RUNS):
            slot.compute(stream)
            stream.synchronize()
    finally:
        for part in (slot, tray, stream):
            part.close()
    runs = {name: _per_run(found) for name, found in times.items()}
    return tuple(LayerTime(name, min(found), found) for name, found in runs.items())


def _collector(times: dict[str, list[float]], of: str) -> Callable[[str, float], None]:
    return lambda name, ms: times.setdefault(of + name, []).append(ms)


def _per_run(times: list[float]) -> tuple[float, ...]:
    """A name may stand for several layers: their times in one run add up."""
    runs = np.array(times).reshape(_RUNS, -1) if len(times) % _RUNS == 0 else np.array(times)[:, None]
    return tuple(runs.sum(axis=1).tolist())
