"""What a benchmark knows, in the forms of trtexec's files (NVIDIA/TensorRT, samples/common/sampleReporting.cpp)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from trtconv.engines.measure.layers import LayerTime
    from trtconv.engines.measure.semantics import Query


def times(queries: Sequence[Query]) -> list[dict[str, float]]:
    """One object per query, in milliseconds since the measurement began.

    A part that was not timed has no length: copies where there are none, or everything but the computation on a CPU.
    Marks of enqueueing are left out: the host has another clock.
    """
    return [_of_query(query) for query in queries]


def _of_query(query: Query) -> dict[str, float]:
    h2d, d2h = query.h2d or 0.0, query.d2h or 0.0
    begin = query.start + h2d if query.compute_start is None else query.compute_start
    compute = query.end - d2h - begin if query.compute is None else query.compute
    return {
        "startH2dMs": query.start,
        "endH2dMs": query.start + h2d,
        "startComputeMs": begin,
        "endComputeMs": begin + compute,
        "startD2hMs": query.end - d2h,
        "endD2hMs": query.end,
        "h2dMs": h2d,
        "computeMs": compute,
        "d2hMs": d2h,
        "latencyMs": query.latency,
    }


def outputs(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """One object per output of one query."""
    return [
        {"name": name, "dimensions": "x".join(map(str, array.shape)), "values": array.ravel().tolist()}
        for name, array in arrays.items()
    ]


def profile(layers: Sequence[LayerTime]) -> list[dict[str, Any]]:
    """The number of runs, then one object per layer in the order of execution: times of all runs, in milliseconds."""
    import numpy as np

    whole = sum(sum(layer.runs) for layer in layers) or 1.0
    rows: list[dict[str, Any]] = [{"count": len(layers[0].runs) if layers else 0}]
    rows += [
        {
            "name": layer.name,
            "timeMs": sum(layer.runs),
            "averageMs": sum(layer.runs) / len(layer.runs),
            "medianMs": float(np.median(layer.runs)),
            "percentage": 100 * sum(layer.runs) / whole,
        }
        for layer in layers
    ]
    return rows
