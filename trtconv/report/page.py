"""A finished job as sections of tables and plots; Markdown and HTML are two ways to write them down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core.units import format_bytes, format_seconds
from trtconv.report import against
from trtconv.report.summary import StepView, proof_text

_SHOWN_LAYERS = 20


@dataclass(frozen=True)
class Table:
    """Cells; ``right`` has one letter per column, ``r`` for numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: str = ""


@dataclass(frozen=True)
class Bars:
    """One horizontal bar per label.

    Attributes:
        title: what is shown, with its unit.
        values: label -> length.
        floor: value at which bars begin; not 0 where all values are close together.
    """

    title: str
    values: Mapping[str, float]
    floor: float = 0.0


@dataclass(frozen=True)
class Lines:
    """Series of points that belong together.

    Attributes:
        title: what is shown.
        x: name of the horizontal axis; with ``ticks`` x values are positions in it.
        y: name of the vertical axis.
        series: name -> points (x, y, label).
        ticks: names of the x positions 0, 1, ...; empty for a numeric axis.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float, str]]]
    ticks: tuple[str, ...] = ()


Plot = Bars | Lines


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    parts: tuple[str | Table | Plot, ...]


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: name of the job.
        lead: one line below it.
        sections: in order; those without parts are left out.
        job: the resolved job as YAML.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    job: str


def page(name: str, steps: Sequence[StepView], gates: Sequence[Any], chains: Mapping[str, Any], job: str) -> Page:
    """Lay out a report.

    Args:
        name: of the job.
        steps: as they were recorded; ``status`` says of each whether it still holds.
        gates: verdicts of ``pipeline.gates``.
        chains: the engine's facts (``.engine.json``) per precision.
        job: the resolved job as YAML.
    """
    stages = {stage: [s for s in steps if s.stage == stage] for stage in ("build", "verify", "infer", "bench")}
    stale = [s.name for s in steps if s.status != "up to date"]
    lead = f"{len(stages['build'])} engines, {len(steps)} steps"
    lead += f"; out of date: {', '.join(stale)}" if stale else ", all up to date"
    sections = (
        Section("Engines", tuple(_engines(stages))),
        Section("Gates", tuple(_gates(gates))),
        Section("Accuracy", tuple(_accuracy(stages["verify"]))),
        Section("Performance", tuple(_performance(stages["bench"]))),
        Section(against.TITLE, tuple(_against(steps))),
        Section("Layers", tuple(_layers(stages["bench"]))),
        Section("Parts", tuple(_parts(stages["bench"]))),
        Section("Provenance", tuple(_provenance(chains))),
        Section("Steps", tuple(_steps(steps))),
    )
    return Page(name, lead, tuple(section for section in sections if section.parts), job)


def _engines(stages: Mapping[str, Sequence[StepView]]) -> Iterator[str | Table]:
    found = {stage: {s.precision: s.result for s in steps} for stage, steps in stages.items()}
    rows = []
    for step in stages["build"]:
        built, verified = step.result, found["verify"].get(step.precision)
        measured = found["bench"].get(step.precision)
        best = max((m.throughput for m in measured.measurements), default=None) if measured else None
        fastest = min((m.latency_ms["median"] for m in measured.measurements), default=None) if measured else None
        rows.append(
            [
                step.precision,
                built.engine.name,
                format_bytes(built.size),
                f"{built.flavor} {built.version}",
                _top1(verified),
                _number(fastest, "{:.3f} ms"),
                _number(best, "{:,.0f} /s"),
                format_seconds(step.seconds),
            ]
        )
    if rows:
        header = ["precision", "engine", "size", "built by", "top-1", "best median latency", "best throughput", "build"]
        yield Table(header, rows, "llrlrrrr")
    for step in stages["build"]:
        yield f"{step.precision} computes {proof_text(step.result.proof)}."


def _top1(verified: Any) -> str:
    """Of the engine where it ran, else of the typed model."""
    ran = [v.top1 for v in verified.verdicts if v.top1 is not None] if verified else []
    return _number(ran[-1] if ran else None, "{:.2f} %")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _gates(verdicts: Sequence[Any]) -> Iterator[Table]:
    if verdicts:
        rows = [
            ["kept" if v.passed else "MISSED", v.name, "; ".join(map(str.strip, v.said.splitlines()))] for v in verdicts
        ]
        yield Table(["", "gate", "value"], rows)


def _accuracy(steps: Sequence[StepView]) -> Iterator[str | Table | Plot]:
    if not steps:
        return
    first = steps[0].result
    top1 = "" if first.reference_top1 is None else f", whose top-1 is {first.reference_top1:.2f} %"
    yield f"{first.samples} samples, compared with {first.reference_label}{top1}."
    yield from _accuracy_plot(steps)
    rows = []
    for step in steps:
        for verdict in step.result.verdicts:
            head = [step.precision, verdict.label]
            tail = [_number(verdict.top1, "{:.2f} %"), _number(verdict.agreement, "{:.2f} %")]
            rows += [
                [
                    *(*head, c.output, f"{c.max_abs:.3g}", f"{c.max_rel:.3g}", f"{c.snr_db:.1f}", *tail),
                    *(verdict.basis, verdict.bound, verdict.runner),
                ]
                for c in verdict.outputs
            ]
            if verdict.skipped:
                rows.append([*head, *["-"] * 6, verdict.basis, "-", f"skipped: {_why(verdict.skipped)}"])
    header = ["precision", "model", "output", "max abs", "max rel", "SNR dB", "top-1", "same class"]
    yield Table([*header, "rests on", "allowed", "ran on"], rows, "lllrrrrrlll")


def _why(reason: str) -> str:
    """A reason without the engine's path in front: the row names the engine."""
    return reason.partition(" cannot run here: ")[2] or reason


def _accuracy_plot(steps: Sequence[StepView]) -> Iterator[Plot]:
    """Top-1 per precision where there are labels, else the signal-to-noise ratio of the worst output."""
    first = steps[0].result
    last = {s.precision: [v for v in s.result.verdicts if not v.skipped] for s in steps}
    top1 = {name: vs[-1].top1 for name, vs in last.items() if vs and vs[-1].top1 is not None}
    if top1 and first.reference_top1 is not None:
        values = {_short(first.reference_label): first.reference_top1, **top1}
        floor = max(0.0, 10 * ((min(values.values()) - 1e-9) // 10))
        yield Bars("top-1 in %" + (f", from {floor:g} %" if floor else ""), values, floor)
        return
    noise = {name: min(c.snr_db for c in vs[-1].outputs) for name, vs in last.items() if vs and vs[-1].outputs}
    finite = {name: ratio for name, ratio in noise.items() if ratio < float("inf")}
    if finite:
        yield Bars("signal to noise of the worst output, in dB", finite)


def _short(label: str) -> str:
    label = label.partition(", not the source")[0]
    return label.rpartition(" ")[0] if label[-1:].isdigit() and " " in label else label


def _performance(steps: Sequence[StepView]) -> Iterator[str | Table | Plot]:
    measured = [s for s in steps if s.result.measurements]
    yield from dict.fromkeys(_measured_by(s) for s in measured)
    if not measured:
        return
    points = {
        s.precision: [(m.latency_ms["median"], m.throughput, f"{m.batch}") for m in s.result.measurements]
        for s in measured
    }
    yield Lines("throughput and latency per batch size", "median latency in ms", "samples per second", points)
    yield from map(_distribution, measured)
    rows = [_measurement(s.precision, m) for s in measured for m in s.result.measurements]
    header = ["precision", "batch", "samples/s", "min ms", "median", "p90", "p95", "p99", "max", "queries", "J/sample"]
    yield Table(header, rows, "lrrrrrrrrrr")


def _measured_by(step: StepView) -> str:
    result = step.result
    text = f"{result.runner}, semantics {result.semantics}."
    text += f" The engine did not run: {_why(result.fell_back)}." if result.fell_back else ""
    return " ".join([text, *(f"{note[:1].upper()}{note[1:]}." for note in result.notes)])


def _distribution(step: StepView) -> Lines:
    """Latency by percentile, one curve per batch size."""
    measurements = step.result.measurements
    names = [key for key in measurements[0].latency_ms if key.startswith("p")]
    keys = ("min", *sorted(names, key=lambda key: float(key[1:])), "max")
    series = {
        f"batch {m.batch}": [(at, m.latency_ms[key], "") for at, key in enumerate(keys) if key in m.latency_ms]
        for m in measurements
    }
    return Lines(
        title=f"{step.precision}: distribution of latencies", x="percentile", y="ms", series=series, ticks=keys
    )


def _measurement(precision: str, m: Any) -> list[str]:
    keys = ("min", "median", "p90", "p95", "p99", "max")
    joules = m.power.get("joules_per_sample")
    latencies = [_number(m.latency_ms.get(key), "{:.3f}") for key in keys]
    return [precision, str(m.batch), f"{m.throughput:,.1f}", *latencies, str(m.queries), _number(joules, "{:.3g}")]


def _against(steps: Sequence[StepView]) -> Iterator[str | Table]:
    if not (rows := against.rows(steps)):
        return
    yield "Milliseconds per batch, median."
    for header, body in (against.milliseconds(rows), against.yardsticks(rows)):
        if body:
            yield Table(header, body, "lrrrrrrrr" if header[0] == "" else "r" * len(header))
    yield from (f"{line}." for line in against.reasons(steps))


def _layers(steps: Sequence[StepView]) -> Iterator[Plot]:
    for step in steps:
        for m in (m for m in step.result.measurements if m.layers):
            longest = sorted(m.layers, key=lambda layer: -layer[1])
            shown = {
                f"{name} ({at})" if name in dict(longest[:at]) else name: ms
                for at, (name, ms) in enumerate(longest[:_SHOWN_LAYERS])
            }
            total = sum(ms for _, ms in m.layers)
            more = f", the longest {_SHOWN_LAYERS} of {len(longest)}" if len(longest) > _SHOWN_LAYERS else ""
            yield Bars(f"{step.precision} at batch {m.batch}: ms per layer, {total:.3g} ms in all{more}", shown)


def _parts(steps: Sequence[StepView]) -> Iterator[Table]:
    rows = [
        [
            step.precision,
            str(m.batch),
            part.name,
            part.on,
            f"{part.ms:.3f}",
            *(_number(ms, "{:.3f}") for ms in (part.h2d_ms, part.d2h_ms)),
            *(format_bytes(size) for size in (part.h2d_bytes, part.d2h_bytes)),
        ]
        for step in steps
        for m in step.result.measurements
        for part in m.part_times
    ]
    if rows:
        header = ["precision", "batch", "part", "on", "ms", "copy in ms", "copy out ms", "in", "out"]
        yield Table(header, rows, "lrllrrrrr")


def _provenance(chains: Mapping[str, Any]) -> Iterator[str | Table]:
    if not chains:
        return
    yield "SHA-256 of every link between the source and the engine."
    rows = []
    for precision, facts in chains.items():
        links = {**facts.get("provenance", {}).get("digests", {}), "engine": facts["engine"]["sha256"]}
        links.setdefault("typed", facts["model"]["sha256"])
        rows += [[precision, what, links[what]] for what in _LINKS if what in links]
    yield Table(["precision", "what", "SHA-256"], rows)


_LINKS = ("source", "frozen", "onnx", "cache", "typed", "engine")


def _steps(steps: Sequence[StepView]) -> Iterator[Table]:
    rows = [
        [s.name, s.status, format_seconds(s.seconds), format_bytes(s.peak_memory), _names(s.outputs)] for s in steps
    ]
    yield Table(["step", "now", "took", "memory", "files"], rows, "llrrl")


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)
