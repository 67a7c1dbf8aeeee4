"""Which of several engines no other one beats in everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def points(results: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    """What counts of each engine, smaller is better: milliseconds per sample, size, and lost top-1 where it is known.

    Args:
        results: label -> stage -> result. Engines without a measurement are left out.
    """
    measured = {label: found for label, found in results.items() if "bench" in found and "build" in found}
    return {
        label: (_milliseconds(found["bench"]), float(found["build"].size), _lost(found.get("verify")))
        for label, found in measured.items()
    }


def front(candidates: Mapping[str, Sequence[float]]) -> set[str]:
    """The labels that no other candidate equals or beats in every figure while beating them in one (Pareto's rule)."""
    return {
        label
        for label, mine in candidates.items()
        if not any(_dominates(other, mine) for name, other in candidates.items() if name != label)
    }


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _milliseconds(bench: Any) -> float:
    return min((1e3 / m.throughput for m in bench.measurements if m.throughput), default=float("inf"))


def _lost(verify: Any) -> float:
    tops = [v.top1 for v in verify.verdicts if v.top1 is not None] if verify is not None else []
    return -min(tops) if tops else 0.0
