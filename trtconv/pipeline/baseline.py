"""Measurements kept for comparison, with everything that must be alike before two of them may be compared."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.files import write_json
from trtconv.core.versions import of
from trtconv.pipeline import machine

_SCHEMA = 1
_PACKAGES = ("onnxruntime", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class Baseline:
    """A baseline file.

    Attributes:
        alike: what must be equal: machine, driver, GPU, versions.
        engines: label -> {"runner", "semantics", "measurements"}: per batch, ``latency_p50``, ``latency_p99`` and
            ``latency_min`` in ms, ``throughput`` in samples/s, and ``energy`` in joules per sample where it is known.
        control: figures of ``pipeline.machine_load`` at the same time; empty when a GPU was measured.
    """

    alike: Mapping[str, Any]
    engines: Mapping[str, Any]
    control: Mapping[str, float]

    def measured(self, label: str, batch: int, result: Any, path: Path) -> dict[str, float] | None:
        """The kept figures for one engine and batch; None when there are none.

        Raises:
            EnvironmentProblem: they were measured under other rules, or by another runner.
        """
        engine = self.engines.get(label)
        if engine is None:
            return None
        for what in ("runner", "semantics"):
            if engine[what] != getattr(result, what):
                raise EnvironmentProblem(
                    f"{path}: {label} was measured with {what} {engine[what]}, and now with {getattr(result, what)}",
                    hint="compare like with like: save a new baseline with trtconv bench --save-baseline",
                )
        figures: dict[str, float] | None = engine["measurements"].get(str(batch))
        return figures


def alike() -> dict[str, Any]:
    """What decides whether two measurements may be compared."""
    gpu = machine.fingerprint()
    cpu = {} if gpu else {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0))}
    return {"gpu": gpu, **cpu, "versions": of(_PACKAGES)}


def read(path: Path) -> Baseline:
    """Read a baseline that fits this machine.

    Raises:
        UsageError: not a baseline.
        EnvironmentProblem: measured on another machine, driver or version.
    """
    try:
        raw = json.loads(path.read_text())
        baseline = Baseline(raw["alike"], raw["engines"], raw["control"])
        if raw["schema"] != _SCHEMA:
            raise KeyError("schema")
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: not a baseline file", hint="make one with trtconv bench --save-baseline") from None
    here = alike()
    differing = [name for name in {*here, *baseline.alike} if here.get(name) != baseline.alike.get(name)]
    if differing:
        was = {name: baseline.alike.get(name) for name in sorted(differing)}
        now = {name: here.get(name) for name in sorted(differing)}
        raise EnvironmentProblem(
            f"{path}: measured under other conditions: {was}, and here {now}",
            hint="measurements of unlike machines are not compared; save a baseline for this one",
        )
    return baseline


def write(path: Path, results: Mapping[str, Sequence[Any]], controls: Sequence[Mapping[str, float]]) -> None:
    """Keep the best of repeated results per engine: what slows a measurement down is never the engine itself."""
    engines = {label: _engine(repeats) for label, repeats in results.items()}
    control = best(controls) if controls else {}
    write_json(path, {"schema": _SCHEMA, "alike": alike(), "engines": engines, "control": control})


def on_cpu(result: Any) -> bool:
    """Whether a result shared its processor with other programs."""
    return str(result.runner).endswith("on CPU")


def _engine(repeats: Sequence[Any]) -> dict[str, Any]:
    first = repeats[0]
    batches = [m.batch for m in first.measurements]
    return {
        "runner": first.runner,
        "semantics": first.semantics,
        "measurements": {
            str(b): best([figures(m) for r in repeats for m in r.measurements if m.batch == b]) for b in batches
        },
    }


def figures(measurement: Any) -> dict[str, float]:
    """What is compared of one measurement."""
    latency = {**measurement.judged_ms, **measurement.latency_ms}
    return {
        "latency_p50": latency["p50"],
        "latency_p99": latency["p99"],
        "latency_min": latency["min"],
        "throughput": measurement.throughput,
        **({"energy": joules} if (joules := measurement.power.get("joules_per_sample")) else {}),
    }


def best(repeats: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Lowest latencies and energy, and highest throughput, of several measurements of one thing."""
    known = [name for name in repeats[0] if all(name in each for each in repeats)]
    return {name: (max if name == "throughput" else min)(each[name] for each in repeats) for name in known}


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
