"""How long each layer of an engine takes, in a run of its own: measuring layers slows the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trtconv.adapters import tensorrt
from trtconv.engines.run.engine import Engine
from trtconv.engines.run.execution import Slot
from trtconv.engines.run.host_buffers import Tray

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


def measure(engine: Engine, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
    """Times of all layers in runs without CUDA graph, in the order of execution.

    The least of some runs: what measuring does to a layer, it only adds.
    """
    times: dict[str, list[float]] = {}
    profiler = tensorrt.profiler(engine.loaded.api, lambda name, ms: times.setdefault(name, []).append(ms))
    slot, tray, stream = Slot(engine), Tray(engine), engine.device.stream()
    try:
        tray.fill(feeds)
        slot.fit(tray, stream)
        slot.copy_in(tray, stream)
        for _ in range(_WARM):
            slot.compute(stream)
        stream.synchronize()
        slot.context.profiler = profiler  # reports as soon as a run is enqueued, which waits for it
        for _ in range(_RUNS):
            slot.compute(stream)
            stream.synchronize()
    finally:
        for part in (slot, tray, stream):
            part.close()
    runs = {name: _per_run(found) for name, found in times.items()}
    return tuple(LayerTime(name, min(found), found) for name, found in runs.items())


def _per_run(times: list[float]) -> tuple[float, ...]:
    """A name may stand for several layers: their times in one run add up."""
    runs = np.array(times).reshape(_RUNS, -1) if len(times) % _RUNS == 0 else np.array(times)[:, None]
    return tuple(runs.sum(axis=1).tolist())
