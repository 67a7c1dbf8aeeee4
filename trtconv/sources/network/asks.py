"""What a script asked of TensorRT's builder, as keys of a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trtconv.calibration import cache as caches
from trtconv.core.events import Emit
from trtconv.core.records import SourceSpec
from trtconv.sources.network.convert import recorded
from trtconv.sources.records import Asks

_REDUCED = ("INT8", "FP8", "BF16", "FP16")


def asks(spec: SourceSpec, emit: Emit) -> Asks:
    """Run a script and say what it asks for beyond its network.

    Raises:
        UsageError: code may not run.
        SourceError: the script fails, or builds no network.
    """
    model, told = recorded(spec, emit)
    return as_job(told["asked"], told["decision"], [value.name for value in model.graph.input])


def as_job(asked: dict[str, Any], decision: dict[str, Any], names: list[str]) -> Asks:
    """Fields of ``asked.Asked`` and ``batch.Decision`` as keys of a job for a network with these inputs."""
    cache = asked["cache"] or _cache(asked["ranges"])
    inputs = _inputs(asked, names)
    job: dict[str, Any] = {"inputs": inputs} if inputs else {}
    job["precision"] = [_precision(asked)]
    if job["precision"] in (["int8"], ["fp8"]):
        job["calibrate"] = {} if cache else {"data": {"path": "calibration.npz"}}
        if "FP16" not in asked["flags"]:
            job["lower"] = {"base": "fp32"}
    if asked["workspace"]:
        job["build"] = {"workspace": asked["workspace"]}
    return Asks(job, tuple(_remarks(asked, decision, cache)), cache if "calibrate" in job else "")


def _precision(asked: dict[str, Any]) -> str:
    """The lowest that was allowed; TF32 is on unless a script switches it off."""
    lowest = next((name.lower() for name in _REDUCED if name in asked["flags"]), "")
    return lowest or ("tf32" if asked["tf32"] else "fp32")


def _inputs(asked: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Ranges of shapes: those of the profiles, or batches up to the largest."""
    if asked["max_batch_size"]:
        size = asked["max_batch_size"]
        return {name: {"profile": {"min": 1, "opt": size, "max": size}} for name in names}
    found: dict[str, list[dict[str, Any]]] = {}
    for profile in asked["profiles"]:
        for name, bounds in profile.items():
            found.setdefault(name, []).append(dict(zip(("min", "opt", "max"), map(list, bounds), strict=True)))
    return {name: {"profile": ranges[0] if len(ranges) == 1 else ranges} for name, ranges in found.items()}


def _cache(ranges: dict[str, Any]) -> str:
    """Dynamic ranges as a calibration cache; empty without any."""
    amax = {name: max(abs(low), abs(high)) for name, (low, high) in ranges.items()}
    return caches.dumps(caches.Cache(amax)) if amax else ""


def _remarks(asked: dict[str, Any], decision: dict[str, Any], cache: str) -> Iterator[str]:
    yield f"The network has an {'implicit' if decision['implicit'] else 'explicit'} batch: {decision['reason']}."
    others = [flag for flag in asked["flags"] if flag not in _REDUCED]
    if others:
        yield f"Also asked for, and without a key in a job: {', '.join(others)}."
    if asked["calibrator"] and not cache:
        yield f"The calibrator {asked['calibrator']} reads samples in get_batch: save them as calibration.npz."
    if asked["ranges"] and not asked["cache"]:
        yield f"The cache holds the {len(asked['ranges'])} dynamic ranges that the script sets."
    if asked["reduced"]:
        yield f"The script sets the precision of {asked['reduced']} layers; lower.keep names nodes that stay in FP32."
