"""One job under two versions of TensorRT: what differs, and whether anybody should mind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core.digests import of_file
from trtconv.core.units import format_bytes
from trtconv.job.schema import Job
from trtconv.pipeline.matrix import cells, choices
from trtconv.sources import RIVALS

SAFE, CHANGED, BROKEN = "safe", "changed", "broken"
_ORDER = (SAFE, CHANGED, BROKEN)
_SIZE = 0.1  # share by which an engine's size may differ before it is worth a word
_BUILD_TIMES = 2.0


@dataclass(frozen=True)
class Finding:
    """Something that differs.

    Attributes:
        verdict: ``changed`` or ``broken``.
        text: what, with the values of both.
        gate: exit code of the gate that is missed now and was kept before; 4 where nothing is built any more; else 0.
    """

    verdict: str
    text: str
    gate: int = 0


@dataclass(frozen=True)
class Compared:
    """One engine of both sides.

    Attributes:
        label: of the engine.
        values: name of a figure -> its value before and after, as text.
        findings: what differs.
    """

    label: str
    values: Mapping[str, tuple[str, str]]
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst of the findings."""
        return max((one.verdict for one in self.findings), key=_ORDER.index, default=SAFE)


@dataclass(frozen=True)
class Upgrade:
    """The whole comparison.

    Attributes:
        versions: of TensorRT, before and after; empty where nothing was built.
        engines: one for each of the job.
        notes: what was not compared, and why.
    """

    versions: tuple[str, str]
    engines: tuple[Compared, ...]
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def verdict(self) -> str:
        """The worst of all engines."""
        return max((one.verdict for one in self.engines), key=_ORDER.index, default=SAFE)

    @property
    def exit_code(self) -> int:
        """4 where something is not built any more, 6 or 7 for gates that are missed now, else 0."""
        return min((one.gate for engine in self.engines for one in engine.findings if one.gate), default=0)


def side(job: Job, model: Path, cache: Path | None, output: Path) -> dict[str, Any]:
    """The job for one side: from the FP32 ONNX on (or typed, as it is), which both share, with the ranges measured."""
    made = job.plain(given=True)
    made["source"] = {"path": str(model)}
    made["output"], made["name"] = str(output), job.name
    made.pop("export", None)
    kept = {name: file for name, file in made.pop("operators", {}).items() if file == "keep"}
    made |= {"operators": kept} if kept else {}  # the others took their places on the way to FP32 ONNX
    made["convert"] = {"check": False, "clean": False, "support": False}
    if cache is not None:
        made["calibrate"] = {"cache": str(cache), "coverage": job.calibrate.coverage if job.calibrate else 1.0}
    if "against" in made.get("bench", {}):  # the source itself is not what two versions of TensorRT differ in
        made["bench"]["against"] = [name for name in made["bench"]["against"] if name not in RIVALS]
    for spec in made.get("inputs", {}).values():
        for key in ("shape", "layout", "dtype"):
            spec.pop(key, None)
    return made


def alone(job: Job, made: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The label of each engine, and the job of one side (see ``side``) with nothing but it."""
    if job.matrix is None:
        yield from ((precision, {**made, "precision": [precision]}) for precision in job.precision)
        return
    profiles = made["matrix"].get("profile", {})
    for cell, choice in zip(cells(job), choices(job), strict=True):
        matrix = {axis: {value: profiles[value]} if axis == "profile" else [value] for axis, value in choice.items()}
        yield cell.label, {**made, "matrix": matrix}


def compare(before: Mapping[str, Any], after: Mapping[str, Any], slower: float) -> Upgrade:
    """Two documents of ``trtconv run --json``.

    Args:
        before: of the version that is left.
        after: of the one that is gone to.
        slower: share by which a latency may grow.
    """
    steps = [step for one in (before, after) for step in one["steps"] if step["stage"] == "build"]
    labels = list(dict.fromkeys(step["precision"] for step in steps))
    versions = (_version(before), _version(after))
    engines = tuple(_engine(label, _Side(before, label), _Side(after, label), slower) for label in labels)
    notes = [note for one in (before, after) if _version(one) for note in _not_compared(one)]
    return Upgrade(versions, engines, tuple(dict.fromkeys(notes)))


def _version(document: Mapping[str, Any]) -> str:
    for step in document["steps"]:
        if step["stage"] == "build" and step["result"]:
            flavor = "TensorRT-RTX" if step["result"]["flavor"] == "rtx" else "TensorRT"
            return f"{flavor} {step['result']['version']}"
    return ""


def _not_compared(document: Mapping[str, Any]) -> Iterator[str]:
    stages = {step["stage"] for step in document["steps"]}
    for step in document["steps"]:
        result = step["result"] or {}
        if step["stage"] in ("infer", "bench") and result.get("fell_back"):
            what = "outputs" if step["stage"] == "infer" else "latency and memory"
            yield f"{what} were not compared: {_reason(result['fell_back'])}"
        for one in result.get("verdicts", ()) if step["stage"] == "verify" else ():
            if one["label"] == "engine" and one["skipped"]:
                yield f"outputs were not compared: {_reason(one['skipped'])}"
    if not stages & {"infer", "verify"}:
        yield "outputs were not compared: the job has neither verify nor infer"
    if "bench" not in stages:
        yield "latency was not compared: the job has no bench section"


def _reason(told: str) -> str:
    """Why an engine did not run, without its name: the reason is the machine's, and told once."""
    return told.rpartition("cannot run here: ")[2]


def _of(name: str) -> str:
    """The engine of ``throughput[fp16-b8] at batch 8``, or the precision of ``lower[fp16]``."""
    return name.partition("[")[2].partition("]")[0]


class _Side:
    """What one side says of one engine."""

    def __init__(self, document: Mapping[str, Any], label: str) -> None:
        self._steps = {step["stage"]: step for step in document["steps"] if step["precision"] == label}
        precision = label.partition("-")[0]
        self.errors = {name: error for name, error in document["errors"].items() if _of(name) in (label, precision, "")}
        self.gates = {gate["name"]: gate for gate in document["gates"] if _of(gate["name"]) == label}
        lowered = [step for step in document["steps"] if step["name"] == f"lower[{precision}]"]
        self.typed = {of_file(Path(name)) for step in lowered for name in step["outputs"] if Path(name).is_file()}

    @property
    def why(self) -> str:
        """Why there is no engine, in a line."""
        error = next(iter(self.errors.values()), {"message": "it was not tried"})
        return str(error["message"]).splitlines()[0]

    def result(self, stage: str) -> Mapping[str, Any]:
        return (self._steps.get(stage) or {}).get("result") or {}

    def seconds(self, stage: str) -> float:
        return float((self._steps.get(stage) or {}).get("seconds") or 0.0)


def _engine(label: str, old: _Side, new: _Side, slower: float) -> Compared:
    values: dict[str, tuple[str, str]] = {}
    findings: list[Finding] = []
    built = old.result("build"), new.result("build")
    if not built[1]:
        findings.append(Finding(BROKEN, f"{'not built' if built[0] else 'built by neither'}: {new.why}", 4))
    elif not built[0]:
        findings.append(Finding(CHANGED, f"built now, and was not before: {old.why}"))
    if all(built):
        values |= _figures(*built)
        values["build time"] = (f"{old.seconds('build'):.1f} s", f"{new.seconds('build'):.1f} s")
        findings += _of_build(old, new)
    findings += _of_gates(old, new)
    measured, said = _latency(old, new, slower)
    return Compared(label, values | measured, (*findings, *said))


def _figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        "engine": (format_bytes(old["size"]), format_bytes(new["size"])),
        "layers": (str(old["layers"]), str(new["layers"])),
        "computes in": (_shares(old), _shares(new)),
        "warnings": (str(len(old["warnings"])), str(len(new["warnings"]))),
    }


def _shares(build: Mapping[str, Any]) -> str:
    proof = build["proof"]
    return ", ".join(f"{100 * share:.1f} % {name}" for name, share in (proof["found"] or proof["promised"]).items())


def _of_build(old: _Side, new: _Side) -> Iterator[Finding]:
    before, after = old.result("build"), new.result("build")
    if old.typed != new.typed:
        yield Finding(CHANGED, "another typed ONNX: the packages that lower it differ")
    for warning in after["warnings"]:
        if warning not in before["warnings"]:
            yield Finding(CHANGED, f"warns: {warning}")
    if before["layers"] != after["layers"]:
        yield Finding(CHANGED, f"{after['layers']} layers, before {before['layers']}")
    if _shares(before) != _shares(after):
        yield Finding(CHANGED, f"computes {_shares(after)}, before {_shares(before)}")
    if abs(after["size"] / before["size"] - 1) > _SIZE:
        yield Finding(CHANGED, f"{format_bytes(after['size'])}, before {format_bytes(before['size'])}")
    if new.seconds("build") > _BUILD_TIMES * old.seconds("build"):
        yield Finding(CHANGED, f"built in {new.seconds('build'):.1f} s, before {old.seconds('build'):.1f} s")


def _of_gates(old: _Side, new: _Side) -> Iterator[Finding]:
    for name, gate in new.gates.items():
        kept = old.gates.get(name, gate)["passed"]
        if kept and not gate["passed"]:
            yield Finding(BROKEN, f"{name}: {gate['said']}", int(gate["exit_code"]))
        elif gate["passed"] and not kept:
            yield Finding(CHANGED, f"{name} is kept now")
    if new.result("build"):
        for name, error in new.errors.items():
            if name not in old.errors:
                yield Finding(BROKEN, f"{name}: {error['message'].splitlines()[0]}", int(error["exit_code"]))


def _latency(old: _Side, new: _Side, slower: float) -> tuple[dict[str, tuple[str, str]], list[Finding]]:
    """Of engines on a GPU; what ONNX Runtime took for one tells nothing of TensorRT."""
    sides = old.result("bench"), new.result("bench")
    if not all(sides) or any(one["fell_back"] for one in sides):
        return {}, []
    values: dict[str, tuple[str, str]] = {}
    findings: list[Finding] = []
    for before, after in zip(sides[0]["measurements"], sides[1]["measurements"], strict=False):
        times = before["latency_ms"]["median"], after["latency_ms"]["median"]
        values[f"latency, batch {before['batch']}"] = (f"{times[0]:.3f} ms", f"{times[1]:.3f} ms")
        if times[1] > (1 + slower) * times[0]:
            text = f"batch {before['batch']}: median latency {times[1]:.3f} ms, before {times[0]:.3f} ms"
            findings.append(Finding(BROKEN, text, 7))
    memory = tuple(format_bytes(one["memory"]) if one["memory"] else "-" for one in sides)
    values["memory"] = (memory[0], memory[1])
    return values, findings
