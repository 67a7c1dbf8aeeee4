"""What a run made, as a table for people and as a document for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtconv.core.records import PartTime, Proof
from trtconv.core.units import format_bytes, format_seconds
from trtconv.report import pareto
from trtconv.report.tables import table
from trtconv.report.verify import corners_text

JSON_SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class StepView:
    """What a report needs of one step: its name, how it ended, what it cost and its result."""

    name: str
    stage: str
    precision: str
    status: str
    seconds: float
    peak_memory: int
    outputs: tuple[Path, ...]
    result: Any


def text(steps: Sequence[StepView], gates: Sequence[Any] = (), matrix: bool = False) -> str:
    """The summary: steps, what was left out, measurements, and last one row per engine.

    Args:
        steps: as they ended.
        gates: verdicts.
        matrix: whether to compare the engines: time per sample, and the Pareto front marked.
    """
    whole = [step for step in steps if step.result is not None]
    parts = [
        _steps(steps),
        _left_out(whole),
        _proofs(whole),
        _measurements(whole),
        _against(whole),
        _inference(whole),
        *_corners(whole),
        _gates(gates),
        _precisions(whole, matrix),
    ]
    return "\n\n".join(part for part in parts if part)


def document(job: str, steps: Sequence[StepView]) -> dict[str, Any]:
    """The same as JSON-like values; ``schema`` counts up when a field changes its meaning."""
    return {
        "schema": JSON_SCHEMA,
        "job": job,
        "steps": [
            {
                "name": s.name,
                "stage": s.stage,
                "precision": s.precision,
                "status": s.status,
                "seconds": round(s.seconds, 3),
                "peak_memory": s.peak_memory,
                "outputs": [str(p) for p in s.outputs],
                "result": None if s.result is None else dataclasses.asdict(s.result),
            }
            for s in steps
        ],
    }


def _steps(steps: Sequence[StepView]) -> str:
    rows = [
        [s.name, s.status, format_seconds(s.seconds), format_bytes(s.peak_memory), ", ".join(p.name for p in s.outputs)]
        for s in steps
    ]
    return table(["step", "status", "took", "memory", "files"], rows, "llrr")


def _corners(steps: Sequence[StepView]) -> list[str]:
    found = ((s.precision, v) for s in steps if s.stage == "verify" for v in s.result.verdicts if v.corners)
    return [f"{precision}: {corners_text(verdict)}" for precision, verdict in found]


def _precisions(steps: Sequence[StepView], matrix: bool) -> str:
    rows = []
    best = _front(steps) if matrix else {}
    header: list[str] = []
    for precision in dict.fromkeys(s.precision for s in steps if s.stage in ("build", "verify")):
        found = {s.stage: s.result for s in steps if s.precision == precision}
        row = {"precision": precision, **_engine(found), **_accuracy(found), **best.get(precision, {})}
        header = list(row) if len(row) > len(header) else header
        rows.append(row)
    if len(header) < 2:
        return ""
    return table(header, [[row.get(title, "-") for title in header] for row in rows], "llrrrrrrrrrl")


def _front(steps: Sequence[StepView]) -> dict[str, dict[str, str]]:
    """Per engine, its time per sample and whether no other engine beats it in time, size and accuracy."""
    labels = dict.fromkeys(s.precision for s in steps if s.stage == "bench")
    points = pareto.points({label: {s.stage: s.result for s in steps if s.precision == label} for label in labels})
    best = pareto.front(points)
    return {
        label: {"ms per sample": f"{point[0]:.4f}", "front": "*" if label in best else ""}
        for label, point in points.items()
    }


def _engine(found: Mapping[str, Any]) -> dict[str, str]:
    build = found.get("build")
    return {"engine": build.engine.name, "size": format_bytes(build.size)} if build else {}


def _accuracy(found: Mapping[str, Any]) -> dict[str, str]:
    verify = found.get("verify")
    if verify is None:
        return {}
    cells: dict[str, str] = {}
    if verify.reference_top1 is not None:
        cells[f"top-1 {_short(verify.reference_label)}"] = f"{verify.reference_top1:.2f} %"
        cells |= {f"top-1 {v.label}": _percent(v.top1) for v in verify.verdicts}
    cells |= {f"same class, {v.label}": _percent(v.agreement) for v in verify.verdicts if v.label == "typed ONNX"}
    typed = [v for v in verify.verdicts if not v.skipped and v.label != "FP32 ONNX"]
    if typed:
        worst = max((c.max_abs for v in typed for c in v.outputs), default=0.0)
        cells[f"max difference from {_short(verify.reference_label)}"] = f"{worst:.3g}"
    return cells


def _short(label: str) -> str:
    """``TensorFlow 2.21.0`` -> ``TensorFlow``; ``FP32 ONNX, not the source: ...`` -> ``FP32 ONNX``."""
    label = label.partition(", not the source")[0]
    name, _, version = label.rpartition(" ")
    return name if name and version[:1].isdigit() else label


def _percent(share: float | None) -> str:
    return "no GPU" if share is None else f"{share:.2f} %"


def _gates(verdicts: Sequence[Any]) -> str:
    rows = [["kept" if v.passed else "MISSED", v.name, v.said.partition("\n")[0]] for v in verdicts]
    return table(["gate", "of", "value"], rows) if rows else ""


def _left_out(steps: Sequence[StepView]) -> str:
    lines = []
    for step in steps:
        if step.stage == "lower" and step.result.left_out:
            shown = [f"  {name}: {reason}" for name, reason in step.result.left_out[:5]]
            more = len(step.result.left_out) - len(shown)
            lines += [f"{step.precision} leaves out {len(step.result.left_out)} nodes:", *shown]
            lines += [f"  and {more} more (see --json)"] if more else []
    return "\n".join(lines)


def _proofs(steps: Sequence[StepView]) -> str:
    """In which types each engine computes, and how that is known."""
    return "\n".join(f"{s.precision} computes {proof_text(s.result.proof)}" for s in steps if s.stage == "build")


def proof_text(proof: Proof) -> str:
    """``98.1 % in float16, 1.9 % in float, by its typed ONNX (no GPU)``."""
    shares = proof.found or proof.promised
    kinds = ", ".join(f"{100 * share:.1f} % in {kind}" for kind, share in shares.items()) or "nothing with weights"
    return f"{kinds}, by the {proof.by}"


def _inference(steps: Sequence[StepView]) -> str:
    lines = []
    for step in (s for s in steps if s.stage == "infer"):
        result = step.result
        accuracy = "" if result.accuracy is None else f", {result.accuracy:.2f} % right"
        lines.append(
            f"infer {step.precision}: {result.samples} samples by {result.runner}{accuracy} -> {result.output}"
        )
        lines += [f"  the engine did not run: {result.fell_back}"] if result.fell_back else []
        lines += [f"  left out: {reason}" for reason in result.skipped]
    return "\n".join(lines)


def _measurements(steps: Sequence[StepView]) -> str:
    parts = [bench_text(s.result, s.precision) for s in steps if s.stage == "bench"]
    return "\n\n".join(parts)


def _against(steps: Sequence[StepView]) -> str:
    """Engines beside the source's framework."""
    if not any(one.stage == "framework" for one in steps):
        return ""
    from trtconv.report import against

    rows = against.rows(steps)
    if not rows:
        return ""
    tables = [against.milliseconds(rows), against.yardsticks(rows)]
    parts = [
        table(header, body, "lr" + "r" * len(header) if not header[0] else "r" * len(header)) for header, body in tables
    ]
    return "\n\n".join([*parts, "\n".join(against.reasons(steps))])


def bench_text(result: Any, name: str) -> str:
    """One benchmark: what ran it, by which rules, and a row per batch size."""
    head = f"bench {name}: {result.runner}, semantics {result.semantics}"
    head += f"\n  the engine did not run: {result.fell_back}" if result.fell_back else ""
    percentiles = (
        [key for key in result.measurements[0].latency_ms if key.startswith("p")] if result.measurements else []
    )
    header = ["batch", "samples/s", "mean ms", *(f"{p} ms" for p in percentiles), "H2D", "compute", "D2H", "queries"]
    rows = [
        [
            str(m.batch),
            f"{m.throughput:.1f}",
            f"{m.latency_ms['mean']:.3f}",
            *(f"{m.latency_ms[p]:.3f}" for p in percentiles),
            _ms(m.h2d_ms),
            _ms(m.compute_ms),
            _ms(m.d2h_ms),
            str(m.queries),
        ]
        for m in result.measurements
    ]
    parts = [f"{head}\n  {_conditions(result)}", table(header, rows, "r" * len(header)), *_insight(result)]
    return "\n".join([*parts, *(f"  note: {note}" for note in result.notes)])


def _conditions(result: Any) -> str:
    """How it was measured, in one line."""
    words = {True: "on", False: "off"}
    return ", ".join(
        f"{name} {words.get(value, value) if isinstance(value, bool) else value}"
        for name, value in result.conditions.items()
    )


def _memory(result: Any) -> list[str]:
    """Figures of one line are of one moment."""
    steady, peak = result.memory_parts, result.memory_peak
    seen = (
        {"steady": steady, "peak, while settings were tried": peak} if peak != steady else {"steady and peak": steady}
    )
    return [
        f"  GPU memory, {when}: {', '.join(f'{name} {format_bytes(size)}' for name, size in parts.items())}"
        for when, parts in seen.items()
        if parts
    ]


def _insight(result: Any) -> list[str]:
    """Lines on memory, power, spread, layers, settings and rivals, as far as they are known."""
    lines = _memory(result)
    lines += [f"  {weights_text(result.weights)}"] if result.weights else []
    for m in result.measurements:
        lines += [f"  batch {m.batch}: {text}" for text in (_partial(m), _spread(m), _power(m.power)) if text]
        lines += [f"    {name}: {ms:.4f} ms" for name, ms in m.layers]
        lines += [f"    {part_text(part)}" for part in m.part_times]
    lines += [
        f"  against {r.name} ({r.runner}), batch {r.batch}, host to host: {r.throughput:.1f}/s, p50 {r.p50_ms:.3f} ms"
        for r in result.rivals
    ]
    return [*lines, *(f"  tuned: {line}" for line in result.tuned.splitlines())]


def weights_text(weights: Mapping[str, int]) -> str:
    """How many weights stay on the GPU, of an engine that can stream them."""
    kept, all_of_them, scratch = (weights[name] for name in ("budget", "streamable", "scratch"))
    if kept >= all_of_them:
        return f"weights: all {format_bytes(all_of_them)} that can be streamed stay on the GPU"
    room = f", {format_bytes(scratch)} of scratch memory for each context" if scratch else ""
    return (
        f"weights: {format_bytes(kept)} of {format_bytes(all_of_them)} stay on the GPU, the rest comes from host "
        f"memory in every run{room}"
    )


def part_text(part: PartTime) -> str:
    """One part of a model: how long it takes, and what passes over its borders."""
    ways = (("to the GPU", part.h2d_ms, part.h2d_bytes), ("back", part.d2h_ms, part.d2h_bytes))
    copies = [f"{format_bytes(size)} {way} in {ms:.3f} ms" for way, ms, size in ways if size and ms is not None]
    return f"{part.name} on {part.on}: {', '.join([f'{part.ms:.3f} ms', *copies])}"


def _partial(m: Any) -> str:
    return "partial: interrupted" if m.partial else ""


def _spread(m: Any) -> str:
    if len(m.repeats) < 2:
        return ""
    return (
        f"{len(m.repeats)} repetitions from {min(m.repeats):.1f} to {max(m.repeats):.1f} samples/s; the median is told"
    )


def _power(power: Mapping[str, Any]) -> str:
    if not power:
        return ""
    clock = f", SM {power['sm_mhz'][0]:.0f} to {power['sm_mhz'][1]:.0f} MHz" if power["sm_mhz"] else ""
    heat = f", {power['temperature']:.0f} C" if power["temperature"] is not None else ""
    return f"{power['watts']:.1f} W, {power['joules_per_sample']:.3g} J per sample{clock}{heat}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
