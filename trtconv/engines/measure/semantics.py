"""What a benchmark's numbers mean: named rules, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Rules:
    """How queries are made and timed.

    Attributes:
        name: as in a job's ``semantics``.
        transfers: whether inputs are copied to the GPU and outputs back with every query.
        spin: whether the host spins while it waits, instead of sleeping until an interrupt.
        graph: whether queries are replayed from a CUDA graph, where that is possible.
        depth: queries in flight per context.
        wall_clock: latency is the host's time from call to result, instead of the sum of GPU times.
        together: whether contexts are used in turns, one query on each and then waiting for all, as trtexec does, with
            the sum of its parts as a query's latency; otherwise each slot gets its next query as soon as its last one
            is done, and the latency is the time from the first copy's start to the last one's end.
    """

    name: str
    transfers: bool
    spin: bool
    graph: bool
    depth: int
    wall_clock: bool = False
    together: bool = True


RULES: Mapping[str, Rules] = {
    "trtexec10": Rules("trtexec10", transfers=True, spin=False, graph=False, depth=2),
    "trtexec11": Rules("trtexec11", transfers=False, spin=True, graph=True, depth=2),
    "app": Rules("app", transfers=True, spin=True, graph=True, depth=1, wall_clock=True),
    "pipelined": Rules("pipelined", transfers=True, spin=True, graph=True, depth=2, together=False),
}
"""trtexec's defaults in TensorRT 10 and 11, what an application sees, and everything overlapped for throughput."""

PIPELINED = RULES["pipelined"]
"""What tuning starts from."""


def changed(rules: Rules, changes: Mapping[str, bool | int | None]) -> Rules:
    """Rules with some of them changed. The name says which, so that unlike numbers are not taken for like ones."""
    real: dict[str, Any] = {
        rule: value for rule, value in changes.items() if value is not None and value != getattr(rules, rule)
    }
    if not real:
        return rules
    words = ",".join(f"{rule}={_word(value)}" for rule, value in sorted(real.items()))
    return replace(rules, **real, name=f"{rules.name}({words})")


def _word(value: bool | int) -> str:
    return str(value) if not isinstance(value, bool) else "on" if value else "off"


@dataclass(frozen=True)
class Limits:
    """How long to measure: until both are reached.

    Attributes:
        warmup: seconds before queries count.
        duration: seconds that count.
        iterations: queries per context that count.
    """

    warmup: float
    duration: float
    iterations: int


class Query(NamedTuple):
    """One query's times in milliseconds. A tuple: it is made in between queries, and quickly.

    Attributes:
        start: since the measurement began.
        end: likewise.
        latency: by the rules.
        h2d: copy in; None without copies.
        compute: on the GPU; None where it cannot be told apart.
        d2h: copy out; None without copies.
        enqueue: host time to enqueue the run; None without a GPU.
        compute_start: as ``start``, of the computation; None where it cannot be told apart.
    """

    start: float
    end: float
    latency: float
    h2d: float | None = None
    compute: float | None = None
    d2h: float | None = None
    enqueue: float | None = None
    compute_start: float | None = None
