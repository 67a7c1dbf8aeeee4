"""verify: outputs of several forms of one model, compared with a reference and with labels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.records import Comparison, FeedSpec
from trtconv.stages.verify.bounds import Bound

NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Overflow:
    """A half-precision tensor that holds NaN or infinity although what it is computed from is finite.

    Attributes:
        tensor: its name.
        node: what makes it.
        op: of which type.
    """

    tensor: str
    node: str
    op: str


@dataclass(frozen=True)
class Layer:
    """A tensor of a typed model against the tensor of that name in the FP32 model.

    Attributes:
        node: what makes it.
        op: of which type.
        dtype: of the tensor in the typed model.
        comparison: the figures; ``output`` is the tensor's name.
    """

    node: str
    op: str
    dtype: str
    comparison: Comparison


@dataclass(frozen=True)
class Corner:
    """A candidate beside the FP32 model at one shape of an optimization profile.

    Attributes:
        profile: its number.
        place: ``min``, ``opt``, ``max`` or ``odd``.
        shapes: of the inputs that vary.
        worst: figures of the output that is furthest away; None when nothing was compared.
        fault: what is wrong; empty when nothing is.
        problem: why nothing was compared; empty when something was.
    """

    profile: int
    place: str
    shapes: dict[str, tuple[int, ...]]
    worst: Comparison | None = None
    fault: str = ""
    problem: str = ""


@dataclass(frozen=True)
class VerifyRequest:
    """What to compare.

    Attributes:
        reference: .npz of outputs (see ``reference``), or a model file that makes them.
        reference_label: what the report calls it: ``TensorFlow``, ``FP32 ONNX``, a file name.
        candidates: label -> .onnx or .engine; compared in this order.
        data: samples, with labels where accuracy is wanted.
        batch: samples per run.
        bounds: what every output of a candidate must keep, by its label; one that is not named has the defaults of its
            own precision (see ``bounds``).
        max_accuracy_drop: points (0..100) of top-1 that a candidate may lose against the reference; None: no gate.
        tolerate_missing_gpu: an .engine candidate that cannot run here is reported as skipped instead of failing.
        per_layer: whether to compare every tensor too; the reference must be an FP32 ONNX model.
        corners: whether to compare at the corners of an engine's profiles too, on samples cut or repeated.
    """

    reference: Path
    reference_label: str
    candidates: Mapping[str, Path]
    data: FeedSpec
    batch: int = 32
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    max_accuracy_drop: float | None = None
    tolerate_missing_gpu: bool = True
    per_layer: bool = False
    corners: bool = True


@dataclass(frozen=True)
class Verdict:
    """One candidate's result.

    Attributes:
        label: the candidate.
        runner: what ran it, such as ``ONNX Runtime 1.31.1, strict, on CPU``; empty when skipped.
        outputs: comparison per output.
        top1: per cent of samples whose largest output is the label; None without labels.
        agreement: per cent of samples whose largest output is the reference's; None when no output has classes.
        skipped: why it did not run; empty when it ran.
        overflows: half-precision tensors that leave the range of their type on the data, where that begins; looked for
            when an output misses its bound, or on request.
        layers: every tensor against its FP32 self, the worst first; only on request.
        basis: what the figures rest on: ``engine``, ``strict`` (a typed model computed as its types say), ``ONNX
            Runtime`` (a model without such types) or ``not compared``.
        bound: what every output had to keep, in words.
        corners: the same comparison at other shapes.
    """

    label: str
    runner: str
    outputs: tuple[Comparison, ...] = ()
    top1: float | None = None
    agreement: float | None = None
    skipped: str = ""
    overflows: tuple[Overflow, ...] = ()
    layers: tuple[Layer, ...] = ()
    basis: str = NOT_COMPARED
    bound: str = ""
    corners: tuple[Corner, ...] = ()


@dataclass(frozen=True)
class VerifyResult:
    """What came out.

    Attributes:
        samples: compared.
        reference_label: as asked.
        reference_top1: per cent, of the reference itself; None without labels.
        verdicts: in the order of the candidates.
        violations: one sentence per gate that a candidate misses; the caller fails on them after showing the table.
    """

    samples: int
    reference_label: str
    reference_top1: float | None
    verdicts: tuple[Verdict, ...]
    violations: tuple[str, ...] = ()


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
    from trtconv.engines.plan import sidecar

    values: dict[str, tuple[int, ...]] = {}
    for path in request.candidates.values():
        facts = sidecar.read(path)
        values |= profiles.optimum(facts.values) if facts else {}
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
