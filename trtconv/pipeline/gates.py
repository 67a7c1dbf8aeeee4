"""Bounds on what a run made and measured. Noise must not fail a build, and a regression must."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.records import Proof
from trtconv.job.gate_bounds import bound, text
from trtconv.job.schema import Gate
from trtconv.pipeline import baseline
from trtconv.pipeline.baseline import Baseline
from trtconv.pipeline.run import Step

MEASURED = ("latency_p50", "latency_p99", "throughput", "energy")
_SHOWN = 5  # operators that run wider than asked
REPEATS = 4
"""Times a missed performance gate is measured again before it fails."""

Remeasure = Callable[[str], Any]
"""Label of an engine -> a fresh BenchResult."""


@dataclass(frozen=True)
class Verdict:
    """One gate on one engine (and batch size).

    Attributes:
        name: such as ``throughput[fp16] at batch 8``.
        passed: whether it was kept.
        said: one sentence with the value and the bound.
        exit_code: 6 for accuracy and precision, 7 for the others.
        hint: what to do when it was missed, where the exit code alone does not say it.
    """

    name: str
    passed: bool
    said: str
    exit_code: int
    hint: str = ""


def judge(gates: Sequence[Gate], steps: Sequence[Step], remeasure: Remeasure | None) -> list[Verdict]:
    """All gates on everything they apply to, and the tolerances that verify applied itself.

    A performance gate that is missed is measured again (unless ``remeasure`` is None), up to REPEATS times, and judged
    on the best: other work on the machine only ever slows a measurement down, so a regression is what remains in the
    best one too. On a CPU, a fixed piece of work measured beside it says how busy the machine is against when the
    baseline was made.

    Raises:
        UsageError: a gate applies to nothing in this job.
        EnvironmentProblem: a baseline of another machine, version or semantics; energy where nothing tells it.
    """
    whole = [step for step in steps if step.result is not None]
    verdicts = list(_of_verify(whole))
    for gate in gates:
        found = list(_of_gate(gate, whole, remeasure))
        if not found:
            raise UsageError(
                f"the gate on {gate.measure} applies to nothing in this job",
                hint="check its engine: and batch: against the job's precisions and batch sizes",
            )
        verdicts += found
    return verdicts


def implied(gates: Sequence[Gate], steps: Sequence[Step]) -> Iterator[Gate]:
    """Gates that hold without being written: what runs wider than promised fails, unless one of the job's allows it."""
    built = [step for step in steps if step.node.stage == "build" and step.result is not None]
    judged = [step.node.precision for step in built if step.result.proof.found]
    allowed = [gate.engine for gate in gates if gate.measure == "wider_share"]
    for label in judged:
        if "" not in allowed and label not in allowed:
            yield Gate(measure="wider_share", max=0.0, engine=label)


def _of_verify(steps: Sequence[Step]) -> Iterator[Verdict]:
    for step in steps:
        if step.node.stage == "verify":
            missed = step.result.violations
            said = "; ".join(missed) or _compared(step.result.verdicts)
            yield Verdict(step.node.name, not missed, said, 6)


def _compared(verdicts: Sequence[Any]) -> str:
    """Who kept which bound, what that rests on, and who was not compared."""
    parts = []
    for words in dict.fromkeys(v.bound for v in verdicts if not v.skipped):
        kept = ", ".join(f"{v.label} ({v.basis})" for v in verdicts if not v.skipped and v.bound == words)
        parts.append(f"{kept} {'within tolerance' if 'relative' in words else 'compared'}: {words}")
    left = ", ".join(v.label for v in verdicts if v.skipped)
    return "; ".join([*(parts or ["nothing was compared"]), *([f"not compared: {left}"] if left else [])])


def _of_gate(gate: Gate, steps: Sequence[Step], remeasure: Remeasure | None) -> Iterator[Verdict]:
    for step in steps:
        if gate.engine and step.node.precision != gate.engine:
            continue
        if gate.measure == "wider_share" and step.node.stage == "build":
            yield of_proof(step.result.proof, step.node.precision, float(gate.max or 0))
        elif gate.measure in MEASURED and step.node.stage == "bench":
            yield from _of_bench(gate, step, remeasure)
        elif (value := _plain_value(gate.measure, step)) is not None:
            limit = bound(gate.measure, gate.max if gate.max is not None else gate.min)
            assert limit is not None
            passed = value <= limit if gate.max is not None else value >= limit
            word = "at most" if gate.max is not None else "at least"
            said = f"{text(gate.measure, value)}; allowed is {word} {text(gate.measure, limit)}"
            code = 6 if gate.measure == "accuracy_drop" else 7
            yield Verdict(f"{gate.measure}[{step.node.precision}]", passed, said, code)


def of_proof(proof: Proof, label: str, limit: float = 0.0) -> Verdict:
    """Whether no more of an engine's arithmetic runs wider than promised than a limit allows.

    Args:
        proof: of the engine.
        label: of the engine.
        limit: share, 0 to 1.
    """
    name, measure = f"wider_share[{label}]", "wider_share"
    if proof.wider_share is None:
        return Verdict(name, True, f"nothing was measured: the proof is the {proof.by}", 6)
    said = f"{text(measure, proof.wider_share)} of the arithmetic runs wider than the typed ONNX says; "
    if closed := proof.found.get("unknown"):
        said += f"of {text(measure, closed)} the engine tells no type; "
    listed = "".join(
        f"\n  {one.node} ({one.op}): {one.promised} was asked, {one.found} runs in layer {one.layer}, "
        f"{text(measure, one.share)}"
        for one in proof.wider[:_SHOWN]
    )
    more = len(proof.wider) - _SHOWN
    listed += f"\n  and {more} more (see --json)" if more > 0 else ""
    said += f"allowed is at most {text(measure, limit)} ({proof.by}){listed}"
    return Verdict(
        name=name,
        passed=proof.wider_share <= limit,
        said=said,
        exit_code=6,
        hint="give these operators the type that they run in (lower.keep, lower.exclude), or allow it: "
        f"gates: [{{measure: wider_share, max: {_up(proof.wider_share)}}}]",
    )


def _up(share: float) -> float:
    """A share with two decimals that is not below it."""
    return math.ceil(share * 100) / 100


def _plain_value(measure: str, step: Step) -> float | None:
    if step.node.stage == "build":
        return {
            "engine_size": float(step.result.size),
            "build_time": step.seconds,
            "peak_memory": float(step.peak_memory),
        }.get(measure)
    if step.node.stage == "verify" and measure == "accuracy_drop" and step.result.reference_top1 is not None:
        judged = [v.top1 for v in step.result.verdicts if v.top1 is not None]
        return float(max(step.result.reference_top1 - top1 for top1 in judged)) if judged else None
    return None


def _of_bench(gate: Gate, step: Step, remeasure: Remeasure | None) -> Iterator[Verdict]:
    label = step.node.precision
    kept = None if gate.baseline is None else baseline.read(gate.baseline)
    wanted = [m.batch for m in step.result.measurements if gate.batch in (None, m.batch)]
    if gate.measure == "energy":
        _need_energy(step.result, label)
    seen: dict[int, list[Mapping[str, float]]] = {b: [] for b in wanted}
    for measurement in step.result.measurements:
        _note(seen, measurement, {})
    limits = {b: _limits(gate, kept, gate.baseline, label, b, step.result) for b in wanted}
    for _ in range(REPEATS):
        if remeasure is None or all(_kept(gate, limits[b], baseline.best(seen[b])) for b in wanted):
            break
        result, load = _beside_control(kept, functools.partial(remeasure, label))
        for measurement in result.measurements:
            _note(seen, measurement, load)
    for b in wanted:
        figures, limit = baseline.best(seen[b]), limits[b]
        direction = "at least" if _at_least(gate) else "at most"
        times = f" (best of {len(seen[b])})" if len(seen[b]) > 1 else ""
        said = f"{text(gate.measure, figures[gate.measure])}{times}; allowed is {direction} "
        said += text(gate.measure, limit[gate.measure])
        passed, within = _kept(gate, limit, figures), _within(gate, limit, figures)
        if passed and not within:
            said += (
                f"; kept, as the fastest query took {text('latency_p50', figures['latency_min'])}: the rest is noise"
            )
        yield Verdict(f"{gate.measure}[{label}] at batch {b}", passed, said, 7)


def _need_energy(result: Any, label: str) -> None:
    if not all("energy" in baseline.figures(measurement) for measurement in result.measurements):
        why = next((note for note in result.notes if note.startswith("no power")), "")
        raise EnvironmentProblem(
            f"the gate on energy cannot be judged: {label} was measured with {result.runner}, and nothing told the "
            f"power drawn{f' ({why})' if why else ''}",
            hint="measure on an NVIDIA GPU, with nvidia-ml-py installed, or leave the gate out",
        )


def _beside_control(kept: Baseline | None, measure: Callable[[], Any]) -> tuple[Any, Mapping[str, float]]:
    """A result, and how much other programs slowed the machine down meanwhile, against when the baseline was made."""
    if kept is None or not kept.control:
        return measure(), {}
    from trtconv.pipeline import machine_load

    before = machine_load.figures()
    result = measure()
    now = baseline.best([before, machine_load.figures()])
    return result, machine_load.slowdown(kept.control, now)


def _note(seen: Mapping[int, list[Mapping[str, float]]], measurement: Any, load: Mapping[str, float]) -> None:
    if measurement.batch in seen:
        figures = baseline.figures(measurement)
        seen[measurement.batch].append(
            {n: v * load.get(n, 1) if n == "throughput" else v / load.get(n, 1) for n, v in figures.items()}
        )


def _limits(
    gate: Gate, kept: Baseline | None, path: Path | None, label: str, batch: int, result: Any
) -> dict[str, float]:
    """The bound on the gate's measure and, with a baseline, on the fastest query."""
    if kept is None or path is None:
        limit = bound(gate.measure, gate.max if gate.max is not None else gate.min)
        assert limit is not None
        return {gate.measure: limit}
    figures = kept.measured(label, batch, result, path)
    if figures is None:
        raise UsageError(
            f"{path}: nothing was measured for {label} at batch {batch}",
            hint="save the baseline again: trtconv bench JOB --save-baseline FILE",
        )
    if gate.measure not in figures:
        raise UsageError(
            f"{path}: no {gate.measure} was measured for {label} at batch {batch}",
            hint="save the baseline again: trtconv bench JOB --save-baseline FILE",
        )
    worse = 1 - gate.tolerance if gate.measure == "throughput" else 1 + gate.tolerance
    return {gate.measure: figures[gate.measure] * worse, "latency_min": figures["latency_min"] * (1 + gate.tolerance)}


def _kept(gate: Gate, limits: Mapping[str, float], figures: Mapping[str, float]) -> bool:
    """Within the bound. Against a baseline, a slower median that the fastest query does not share is noise."""
    if _within(gate, limits, figures):
        return True
    if gate.measure in ("latency_p99", "energy"):  # a tail is what the fastest query cannot speak for, nor is power
        return False
    return "latency_min" in limits and figures["latency_min"] <= limits["latency_min"]


def _within(gate: Gate, limits: Mapping[str, float], figures: Mapping[str, float]) -> bool:
    value, limit = figures[gate.measure], limits[gate.measure]
    return value >= limit if _at_least(gate) else value <= limit


def _at_least(gate: Gate) -> bool:
    return gate.measure == "throughput" if gate.baseline is not None else gate.min is not None
