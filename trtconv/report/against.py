"""Engines beside the source's own framework: milliseconds per batch, and the five yardsticks of every row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trtconv.core.units import format_bytes

if TYPE_CHECKING:
    from trtconv.report.summary import StepView

TITLE = "Against the source's framework"
YARDSTICKS = ("throughput", "efficiency", "latency", "accuracy", "memory")


@dataclass(frozen=True)
class Row:
    """One way to run the model at one batch size.

    Attributes:
        what: ``TensorRT-RTX``, ``pytorch``, ...
        precision: of its arithmetic.
        batch: samples per run.
        measured: a ``stages.bench.Measurement``; None: there is none.
        memory: bytes of GPU memory; None: not known.
        snr_db: of the output that is furthest from the source's; None: not compared.
        agreement: per cent of samples with the source's class; None: not known.
        by: what was compared, where that is not what was measured.
        why: there is no measurement.
    """

    what: str
    precision: str
    batch: int
    measured: Any
    memory: int | None = None
    snr_db: float | None = None
    agreement: float | None = None
    by: str = ""
    why: str = ""

    @property
    def label(self) -> str:
        """Of its column."""
        return f"{self.what} {self.precision}"


def rows(steps: Sequence[StepView]) -> list[Row]:
    """By precision, then by what runs it, then by batch size; none without a step of the framework."""
    found: list[Row] = []
    for step in (step for step in steps if step.stage == "framework"):
        batches = list(dict.fromkeys(run.batch for run in step.result.runs))
        found += [row for batch in batches for row in _engines(steps, step.result.precision, batch)]
        found += [_framework(run, step.result.precision) for run in step.result.runs]
    return found


def _engines(steps: Sequence[StepView], precision: str, batch: int) -> Iterator[Row]:
    """Engines of a precision that were measured at a batch size, or a row that says there is none."""
    mine = [s for s in steps if _precision(s, [precision])]
    measured = [(s, m) for s in mine if s.stage == "bench" for m in s.result.measurements if m.batch == batch]
    for step, measurement in measured:
        verified = next((s.result for s in mine if s.stage == "verify" and s.precision == step.precision), None)
        label, snr, agreement = _verified(verified)
        ran = re.match(r"(.*?) \d", step.result.runner)
        what = ran[1] if ran else step.result.runner
        yield Row(what, precision, batch, measurement, step.result.memory, snr, agreement, label)
    if not measured:
        why = "no engine was measured: its build or its measurement did not come to a good end"
        yield Row("engine", precision, batch, None, why=why)


def _verified(verified: Any) -> tuple[str, float | None, float | None]:
    """Of the engine where it ran, else of the last model that did: its name, worst ratio and agreement."""
    ran = [v for v in verified.verdicts if v.outputs] if verified else []
    if not ran:
        return "", None, None
    last = ran[-1]
    by = "" if last.basis == "engine" else last.label
    return by, min(output.snr_db for output in last.outputs), last.agreement


def _framework(run: Any, precision: str) -> Row:
    snr = min((output.snr_db for output in run.outputs), default=None)
    return Row(run.name, precision, run.batch, run.measurement, run.memory, snr, run.agreement, why=run.problem)


def milliseconds(found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the old layout: batch sizes down, ways across; median milliseconds per batch."""
    labels = list(dict.fromkeys(row.label for row in found))
    cells = {(row.label, row.batch): _ms(row) for row in found}
    batches = sorted({row.batch for row in found})
    body = [[str(batch), *(cells.get((label, batch), "-") for label in labels)] for batch in batches]
    return ["batch_size", *(f"{label} (ms)" for label in labels)], body


def yardsticks(found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: throughput, efficiency, latency, accuracy and memory of each that was measured."""
    header = ["", "batch", "samples/s", "samples/J", "median ms", "p99 ms", "SNR dB", "same class", "GPU memory"]
    return header, [_yardsticks(row) for row in found if row.measured is not None]


def _yardsticks(row: Row) -> list[str]:
    measured = row.measured
    efficiency = measured.power.get("samples_per_joule")
    by = f" ({row.by})" if row.by else ""
    return [
        row.label,
        str(row.batch),
        f"{measured.throughput:,.1f}",
        "-" if efficiency is None else f"{efficiency:.2f}",
        f"{measured.latency_ms['median']:.3f}",
        f"{(measured.judged_ms or measured.latency_ms)['p99']:.3f}",
        "-" if row.snr_db is None else f"{row.snr_db:.1f}{by}",
        "-" if row.agreement is None else f"{row.agreement:.1f} %",
        "-" if row.memory is None else format_bytes(row.memory),
    ]


def _ms(row: Row) -> str:
    return "-" if row.measured is None else f"{row.measured.latency_ms['median']:.3f}"


def reasons(steps: Sequence[StepView]) -> list[str]:
    """Why cells are empty, and what must be known of the framework's numbers; each once."""
    found: dict[str, list[int]] = {}
    for row in (row for row in rows(steps) if row.why):
        found.setdefault(f"{row.label}: {row.why}", []).append(row.batch)
    lines = [f"{text} (batch {', '.join(map(str, batches))})" for text, batches in found.items()]
    wanted = [step.result.precision for step in steps if step.stage == "framework"]
    for step in (step for step in steps if step.stage == "bench" and _precision(step, wanted)):
        words = ", ".join(f"{name} {_word(value)}" for name, value in step.result.conditions.items())
        lines.append(f"{_precision(step, wanted)}: {step.result.runner}, semantics {step.result.semantics}; {words}")
    for step in (step for step in steps if step.stage == "framework"):
        done = [run for run in step.result.runs if run.measurement is not None]
        for run in done:
            words = ", ".join(f"{name} {_word(value)}" for name, value in run.conditions.items())
            lines.append(f"{run.name} {step.result.precision}: {run.runner}; {words}")
            lines += [f"{run.name} {step.result.precision}, batch {run.batch}: {note}" for note in run.notes]
    return list(dict.fromkeys(lines))


def _precision(step: StepView, wanted: Sequence[str]) -> str:
    """Of an engine, as far as it is one of those; empty for others."""
    return next((one for one in wanted if step.precision == one or step.precision.startswith(f"{one}-")), "")


def _word(value: Any) -> str:
    return str(value) if not isinstance(value, bool) else "on" if value else "off"
