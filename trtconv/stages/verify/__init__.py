"""verify: outputs of several forms of one model, compared with a reference and with labels."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.records import FeedSpec
from trtconv.stages.verify.records import NOT_COMPARED, Corner, Layer, Overflow, Verdict, VerifyRequest, VerifyResult

__all__ = ["NOT_COMPARED", "Corner", "Layer", "Overflow", "Verdict", "VerifyRequest", "VerifyResult", "verify"]


def verify(request: VerifyRequest, emit: Emit) -> VerifyResult:
    """Run every candidate on the data and compare it with the reference, batch by batch.

    Raises:
        UsageError: data, labels or outputs do not fit.
        SourceError: a model cannot be read.
        EnvironmentProblem: an engine cannot run here and ``tolerate_missing_gpu`` is off.
    """
    from trtconv.stages.verify import bounds, shapes
    from trtconv.stages.verify.comparing import Race, open_model

    request = replace(request, data=_with_values(request))
    verdicts, violations, reference_top1, samples = [], [], None, 0
    for label, path in request.candidates.items():
        try:
            runner = open_model(path)
        except EnvironmentProblem as problem:
            if not request.tolerate_missing_gpu:
                raise
            emit(Message(f"{label} skipped: {problem.message}"))
            verdicts.append(Verdict(label, "", skipped=problem.message))
            continue
        bound = request.bounds.get(label) or bounds.of_model(path)
        with closing(runner):
            race = Race(request, label, runner, emit)
            verdict = race.verdict()
            if request.corners:
                verdict = replace(verdict, corners=shapes.corners(request, label, runner, bound, emit))
        samples, reference_top1 = race.samples, race.reference_top1
        missed = list(bounds.missed(request, verdict, bound, reference_top1))
        verdict = _inside(request, path, replace(verdict, bound=str(bound)), bool(missed), emit)
        violations += bounds.explained(verdict, missed)
        verdicts.append(verdict)
    return VerifyResult(samples, request.reference_label, reference_top1, tuple(verdicts), tuple(violations))


def _with_values(request: VerifyRequest) -> FeedSpec:
    """The data, with the optimum of values that decide shapes: only engines say it, and every candidate needs it."""
    from trtconv.engines.build import profiles
    from trtconv.engines.plan import manifest

    values: dict[str, tuple[int, ...]] = {}
    for path in request.candidates.values():
        values |= profiles.optimum(manifest.ranges_of(path)[1])
    return replace(request.data, values={**values, **request.data.values})


def _inside(request: VerifyRequest, path: Path, verdict: Verdict, missed: bool, emit: Emit) -> Verdict:
    """A typed model's verdict with what only its inner tensors tell."""
    if path.suffix.lower() != ".onnx" or not (missed or request.per_layer):
        return verdict
    from trtconv.stages.verify import tensors

    fp32 = request.reference if request.reference.suffix.lower() == ".onnx" else None
    overflows = tensors.overflows(path, request.data, request.batch, fp32, emit)
    if not request.per_layer:
        return replace(verdict, overflows=overflows)
    if fp32 is None:
        raise UsageError(
            f"comparing every tensor needs an FP32 ONNX model as reference, not {request.reference}",
            hint="trtconv verify model.onnx model.fp16.onnx --per-layer --data FILE",
        )
    layers = tensors.layers(fp32, path, request.data, request.batch, emit)
    return replace(verdict, overflows=overflows, layers=layers)
