"""What a job's targets cannot do, found before anything runs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trtconv.core import versions
from trtconv.core.errors import EnvironmentProblem, SourceError, UsageError
from trtconv.core.names import did_you_mean
from trtconv.job.schema import Gate, Job
from trtconv.pipeline import model_inputs
from trtconv.pipeline.matrix import Cell, cells


@dataclass(frozen=True)
class Need:
    """What a precision asks of a GPU.

    Attributes:
        capability: the lowest compute capability that has it, times ten.
        why: what older ones lack.
        instead: what to do for them.
    """

    capability: int
    why: str
    instead: str


NEEDS: Mapping[str, Need] = {
    "fp8": Need(89, "FP8 needs compute capability 8.9", "int8"),
    "bf16": Need(80, "bfloat16 needs compute capability 8.0", "fp16"),
}
"""Source: TensorRT-RTX's support matrix; its builder refuses what is missing here, but only after the whole line."""

INT8_CONV = (1, 7)
"""The first TensorRT-RTX with INT8 convolutions."""

_RTX = ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12")


def require(cells: Iterable[Cell]) -> None:
    """Refuse engines that their targets cannot run.

    Raises:
        UsageError: every such combination of precision and target, and what to write instead.
    """
    problems, hints = [], []
    for cell in cells:
        need = NEEDS.get(cell.precision)
        old = [target for target in cell.job.build.targets if need and 0 < _number(target) < need.capability]
        if need and old:
            problems.append(f"{cell.label}: {cell.precision} cannot be built for {', '.join(old)}: {need.why}")
            hints.append(f"use {need.instead} there, or leave {', '.join(old)} out of build.targets")
    if problems:
        raise UsageError("\n".join(problems), hint=hints[0])


def require_int8_conv(job: Job, model: Path | None, installed: str | None = None) -> None:
    """Refuse INT8 convolutions where the TensorRT-RTX that would build them has none.

    Args:
        job: any.
        model: its ONNX file; None when there is none yet (the build stage refuses it then).
        installed: version of TensorRT-RTX; None: the one installed here.

    Raises:
        EnvironmentProblem: with the version to install.
    """
    asks = any(cell.precision == "int8" for cell in cells(job))
    if not asks or model is None or job.build.backend == "tensorrt" or "Conv" in job.lower.exclude.ops:
        return
    version = installed if installed is not None else next(iter(versions.of(_RTX).values()), "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if not numbers or numbers >= INT8_CONV:
        return
    from trtconv.graph import model_io

    count = sum(node.op_type == "Conv" for node in model_io.load(model, weights=False).graph.node)
    if count:
        raise EnvironmentProblem(
            f"TensorRT-RTX {version} has no INT8 convolutions, and {model} has {count} convolutions",
            hint="install TensorRT-RTX 1.7 or later, or leave them out: lower: {exclude: {ops: [Conv]}}",
        )


def require_gates(gates: Iterable[Gate], cells: Sequence[Cell]) -> None:
    """Refuse gates on engines or batch sizes that the job does not have.

    Raises:
        UsageError: with the nearest name.
    """
    labels = [cell.label for cell in cells]
    batches = sorted({batch for cell in cells if cell.job.bench for batch in cell.job.bench.batch})
    for gate in gates:
        if gate.engine and gate.engine not in labels:
            raise UsageError(
                f"the gate on {gate.measure}: there is no engine {gate.engine!r}; there are {', '.join(labels)}",
                hint=did_you_mean(gate.engine, labels) or "name one of them, or leave engine: out",
            )
        if gate.batch is not None and gate.batch not in batches:
            listed = ", ".join(map(str, batches)) or "none"
            raise UsageError(
                f"the gate on {gate.measure}: batch {gate.batch} is not measured; bench.batch has {listed}",
                hint=f"add {gate.batch} to bench.batch, or leave batch: out",
            )


def require_batches(cells: Iterable[Cell], model: Path | None) -> None:
    """Refuse batch sizes beyond what the engines are built for, as far as the model's shapes are known.

    Args:
        cells: of the job.
        model: its ONNX file; None when there is none yet.

    Raises:
        UsageError: naming the batch and the range.
    """
    known: Mapping[str, Sequence[int | str]] | None = None  # read when a batch is in doubt
    for cell in cells:
        asked = {"bench.batch": list(cell.job.bench.batch) if cell.job.bench else []}
        asked["infer.batch"] = [cell.job.infer.batch] if cell.job.infer and cell.job.infer.batch else []
        largest = max((batch for batches in asked.values() for batch in batches), default=0)
        if not largest or (largest <= _DEFAULT_BATCH[1] and not _has_profiles(cell)):
            continue
        known = _interface(model) if known is None else known
        for name, ranges in _batch_ranges(cell, known).items():
            for where, batches in asked.items():
                wrong = [b for b in batches if not any(low <= b <= high for low, high in ranges)]
                if wrong:
                    listed = " or ".join(f"{low} to {high}" for low, high in ranges)
                    raise UsageError(
                        f"{where}: a batch of {wrong[0]} is outside of what {cell.label} is built for: input {name!r} "
                        f"takes {listed}",
                        hint=f"give it a wider profile (inputs.{name}.profile), or measure other batches",
                    )


_DEFAULT_BATCH = (1, 32)  # engines.build.profiles


def _has_profiles(cell: Cell) -> bool:
    return cell.profile is not None or any(spec.profile for spec in cell.job.inputs.values())


def _batch_ranges(cell: Cell, known: Mapping[str, Sequence[int | str]]) -> dict[str, list[tuple[int, int]]]:
    """Batch sizes of every input whose first dimension is known to be open; of each profile the least and the most."""
    found = {}
    said = {name: spec.shape for name, spec in cell.job.inputs.items() if spec.shape}
    for name, shape in {**known, **said}.items():
        if not shape or (isinstance(shape[0], int) and shape[0] > 0):
            continue
        spec = cell.job.inputs.get(name)
        profiles = [cell.profile] if cell.profile is not None else (spec.profile if spec else None)
        if profiles:
            found[name] = [(profile.min[0], profile.max[0]) for profile in profiles]
        elif not _has_profiles(cell) and all(isinstance(dim, int) and dim > 0 for dim in shape[1:]):
            found[name] = [_DEFAULT_BATCH]
    return found


def _interface(model: Path | None) -> dict[str, Sequence[int | str]]:
    """Shapes of a model's inputs; nothing of one that cannot be read, which the step that reads it says."""
    with contextlib.suppress(SourceError):
        return {} if model is None else {info.name: info.shape for info in model_inputs.of(model)}
    return {}


def require_leave(job: Job, stages: Collection[str], *, allow_code: bool) -> None:
    """Refuse functions of the user's in stages that will run, unless code may run.

    Raises:
        UsageError: naming the function.
    """
    named: list[tuple[str, str]] = []
    if job.calibrate and job.calibrate.call:
        named.append(("calibrate", job.calibrate.call))
    named += [("build", one.python or str(one.path)) for one in job.plugins]
    for row in job.infer.postprocess if job.infer else ():
        named += [("infer", str(given["function"])) for name, given in row.items() if name == "call"]
    for rival in job.bench.against if job.bench else ():
        named += [("bench", rival.partition(":")[2])] if ":" in rival else []
    named += _lean_runtimes(job)
    for stage, function in named:
        if stage in stages and not allow_code:
            raise UsageError(
                f"{stage}: {function} is code, which runs only by your leave", hint="add --allow-code if you trust it"
            )


def _lean_runtimes(job: Job) -> list[tuple[str, str]]:
    """Those that the stages would run an engine with."""
    given = {"infer": job.infer, "bench": job.bench}
    named = [(stage, str(section.lean_runtime)) for stage, section in given.items() if section and section.lean_runtime]
    if job.build.version_compatibility == "embedded_runtime":
        asked = {**given, "verify": job.verify}
        named += [(stage, "the lean runtime inside the engine") for stage, section in asked.items() if section]
    return named


def require_products(cells: Iterable[Cell], model: Path | None) -> None:
    """Refuse matrix products that end in FP32 on Turing, which TensorRT-RTX has none for.

    Those are the products of an FP32 model, and of an INT8 one: theirs are summed in FP32.

    Args:
        cells: of the job.
        model: its ONNX file; None when there is none yet (the builder refuses it then).

    Raises:
        UsageError: with the operators and what to write instead.
    """
    wrong = [
        cell
        for cell in cells
        if cell.job.build.backend != "tensorrt"
        and cell.precision in _SINGLE_PRODUCTS
        and any(0 < _number(target) < _AMPERE for target in cell.job.build.targets)
    ]
    if not wrong or model is None:
        return
    from trtconv.graph import model_io

    present = {node.op_type for node in model_io.load(model, weights=False).graph.node} & _PRODUCTS
    for cell in wrong:
        section = cell.job.lower
        halved = set(section.exclude.ops) if cell.precision == "int8" and section.base == "fp16" else set()
        if left := sorted(present - halved):
            raise UsageError(
                f"{cell.label}: {cell.precision} cannot be built for sm75: TensorRT-RTX has no FP32 "
                f"matrix products for Turing, and {model} has {', '.join(left)}",
                hint=_SINGLE_PRODUCTS[cell.precision],
            )


_AMPERE = 80
_PRODUCTS = frozenset({"MatMul", "Gemm"})
_INSTEAD = "use fp16 there, or leave sm75 out of build.targets"
_SINGLE_PRODUCTS: Mapping[str, str] = {
    "fp32": _INSTEAD,
    "tf32": _INSTEAD,
    "int8": "leave them out of int8, so that they are FP16: lower: {exclude: {ops: [MatMul, Gemm]}}",
}
"""Precision -> what to do about it."""


def _number(target: str) -> int:
    """``sm86`` as 86; 0 for a name that the builder will judge."""
    digits = target.lower().removeprefix("sm").replace(".", "").replace("_", "")
    return int(digits) if digits.isdecimal() else 0
