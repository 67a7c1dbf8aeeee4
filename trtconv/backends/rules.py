"""What a benchmark's numbers mean: named rules, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


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
        together: whether contexts are used in turns, one query on each and then waiting for all, as trtexec does;
            otherwise each gets its next query as soon as its last one is done.
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
    "app": Rules("app", transfers=True, spin=True, graph=False, depth=1, wall_clock=True),
}
"""trtexec's defaults in TensorRT 10 and 11, and what an application sees."""


def changed(rules: Rules, changes: Mapping[str, bool | None]) -> Rules:
    """Rules with some of them changed. The name says which, so that unlike numbers are not taken for like ones."""
    real: dict[str, bool] = {
        rule: value for rule, value in changes.items() if value is not None and value != getattr(rules, rule)
    }
    if not real:
        return rules
    words = ",".join(f"{rule}={'on' if value else 'off'}" for rule, value in sorted(real.items()))
    return replace(rules, **real, name=f"{rules.name}({words})")


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


@dataclass(frozen=True)
class Query:
    """One query's times in milliseconds.

    Attributes:
        start: since the measurement began.
        end: likewise.
        latency: by the rules.
        h2d: copy in; None without copies.
        compute: on the GPU; None where it cannot be told apart.
        d2h: copy out; None without copies.
        enqueue: host time to enqueue the run; None without a GPU.
    """

    start: float
    end: float
    latency: float
    h2d: float | None = None
    compute: float | None = None
    d2h: float | None = None
    enqueue: float | None = None
