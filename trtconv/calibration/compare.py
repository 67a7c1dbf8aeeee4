"""Two caches against each other, and several made one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trtconv.calibration.cache import Cache
from trtconv.core.errors import UsageError

RULES = ("first", "last", "max")
"""Which range a tensor gets when several caches have it."""


@dataclass(frozen=True)
class Difference:
    """What two caches say differently.

    Attributes:
        changed: tensor -> (range in the first, range in the second), the largest ratio first.
        only_first: tensors that only the first has.
        only_second: tensors that only the second has.
        same: how many agree.
    """

    changed: Mapping[str, tuple[float, float]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    same: int


def diff(first: Cache, second: Cache, tolerance: float = 1e-6) -> Difference:
    """Compare the ranges of two caches; those within a relative ``tolerance`` are the same."""
    both = [name for name in first.amax if name in second.amax]
    pairs = {name: (first.amax[name], second.amax[name]) for name in both}
    changed = {name: pair for name, pair in pairs.items() if ratio(*pair) > 1 + tolerance}
    return Difference(
        dict(sorted(changed.items(), key=lambda item: -ratio(*item[1]))),
        tuple(name for name in first.amax if name not in second.amax),
        tuple(name for name in second.amax if name not in first.amax),
        len(both) - len(changed),
    )


def ratio(first: float, second: float) -> float:
    """How many times the larger of two ranges is the smaller; infinity when one is zero or infinite."""
    if first == second:
        return 1.0
    low, high = sorted((first, second))
    return high / low if low > 0 else float("inf")


def merge(caches: Sequence[tuple[Path, Cache]], rule: str = "max") -> Cache:
    """One cache with the tensors of all.

    Args:
        caches: with their names, for errors.
        rule: a row of RULES.

    Raises:
        UsageError: caches of different algorithms: their ranges do not mean the same.
    """
    algorithms = {cache.algorithm: path for path, cache in caches}
    if len(algorithms) > 1:
        found = ", ".join(f"{name} ({path})" for name, path in algorithms.items())
        raise UsageError(f"caches of different algorithms cannot be merged: {found}", hint="calibrate with one method")
    amax: dict[str, float] = {}
    for _, cache in caches:
        for name, value in cache.amax.items():
            known = amax.get(name)
            chosen = {"first": known, "last": value, "max": None if known is None else max(known, value)}[rule]
            amax[name] = value if known is None or chosen is None else chosen
    return Cache(amax, max(cache.version for _, cache in caches), caches[0][1].algorithm)
