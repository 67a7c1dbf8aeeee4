"""verify: outputs of several forms of one model, compared with a reference and with labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.records import Comparison, FeedSpec


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
class VerifyRequest:
    """What to compare.

    Attributes:
        reference: .npz of outputs (see ``reference``), or a model file that makes them.
        reference_label: what the report calls it: ``TensorFlow``, ``FP32 ONNX``, a file name.
        candidates: label -> .onnx or .engine; compared in this order.
        data: samples, with labels where accuracy is wanted.
        batch: samples per run.
        max_rel: tolerance on ``Comparison.max_rel`` per candidate label; exceeding it is a violation.
        max_accuracy_drop: points (0..100) of top-1 that a candidate may lose against the reference; None: no gate.
        tolerate_missing_gpu: an .engine candidate that cannot run here is reported as skipped instead of failing.
        per_layer: whether to compare every tensor too; the reference must be an FP32 ONNX model.
    """

    reference: Path
    reference_label: str
    candidates: Mapping[str, Path]
    data: FeedSpec
    batch: int = 32
    max_rel: Mapping[str, float] = field(default_factory=dict)
    max_accuracy_drop: float | None = None
    tolerate_missing_gpu: bool = True
    per_layer: bool = False


@dataclass(frozen=True)
class Verdict:
    """One candidate's result.

    Attributes:
        label: the candidate.
        runner: what ran it, such as ``ONNX Runtime 1.31.1 on CPU``; empty when skipped.
        outputs: comparison per output.
        top1: per cent of samples whose largest output is the label; None without labels.
        agreement: per cent of samples whose largest output is the reference's; None when no output has classes.
        skipped: why it did not run; empty when it ran.
        overflows: half-precision tensors that leave the range of their type on the data, where that begins.
        layers: every tensor against its FP32 self, the worst first; only on request.
    """

    label: str
    runner: str
    outputs: tuple[Comparison, ...] = ()
    top1: float | None = None
    agreement: float | None = None
    skipped: str = ""
    overflows: tuple[Overflow, ...] = ()
    layers: tuple[Layer, ...] = ()


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
    request = replace(request, data=_with_values(request))
    verdicts, reference_top1, samples = [], None, 0
    for label, path in request.candidates.items():
        try:
            runner = _open(path)
        except EnvironmentProblem as problem:
            if not request.tolerate_missing_gpu:
                raise
            emit(Message(f"{label} skipped: {problem.message}"))
            verdicts.append(Verdict(label, "", skipped=problem.message))
            continue
        try:
            race = _Race(request, label, runner, emit)
            verdicts.append(_inside(request, path, race.verdict(), emit))
        finally:
            runner.close()
        samples, reference_top1 = race.samples, race.reference_top1
    return VerifyResult(
        samples,
        request.reference_label,
        reference_top1,
        tuple(verdicts),
        tuple(_violations(request, reference_top1, verdicts)),
    )


def _with_values(request: VerifyRequest) -> FeedSpec:
    """The data, with the optimum of values that decide shapes: only engines say it, and every candidate needs it."""
    from trtconv.engines.build import profiles
    from trtconv.engines.plan import sidecar

    values: dict[str, tuple[int, ...]] = {}
    for path in request.candidates.values():
        facts = sidecar.read(path)
        values |= profiles.optimum(facts.values) if facts else {}
    return replace(request.data, values={**values, **request.data.values})


def _inside(request: VerifyRequest, path: Path, verdict: Verdict, emit: Emit) -> Verdict:
    """A typed model's verdict with what only its inner tensors tell."""
    if path.suffix.lower() != ".onnx":
        return verdict
    from trtconv.stages.verify import tensors

    overflows = tensors.overflows(path, request.data, request.batch, emit)
    if not request.per_layer:
        return replace(verdict, overflows=overflows)
    if request.reference.suffix.lower() != ".onnx":
        raise UsageError(
            f"comparing every tensor needs an FP32 ONNX model as reference, not {request.reference}",
            hint="trtconv verify model.onnx model.fp16.onnx --per-layer --data FILE",
        )
    layers = tensors.layers(request.reference, path, request.data, request.batch, emit)
    return replace(verdict, overflows=overflows, layers=layers)


def _open(path: Path) -> Any:
    from trtconv.engines import open_engine, open_onnx

    return open_onnx(path) if path.suffix.lower() == ".onnx" else open_engine(path)


class _Race:
    """One candidate against the reference over all samples."""

    def __init__(self, request: VerifyRequest, label: str, runner: Any, emit: Emit) -> None:
        from trtconv.data.feeds import open_feed
        from trtconv.engines.build import profiles

        self.request, self.label, self.runner, self.emit = request, label, runner, emit
        data = replace(request.data, values={**profiles.optimum(runner.values), **request.data.values})
        self.feed = open_feed(data, runner.inputs)
        self.samples = len(self.feed)
        self.truth = self.feed.labels()
        self.meters: dict[str, Any] = {}
        self.right = self.reference_right = self.agreeing = self.classified = 0

    @property
    def reference_top1(self) -> float | None:
        return self._share(self.reference_right) if self.truth is not None else None

    def verdict(self) -> Verdict:
        done = 0
        reference = _Reference(self.request)
        size = self.request.batch  # samples of one shape come together, whatever their order
        for rows, feeds in zip(self.feed.groups(size), self.feed.batches(size), strict=True):
            self._add(reference.outputs(feeds, rows), self.runner.run(feeds), rows)
            done += len(rows)
            self.emit(Progress(f"comparing {self.label}", done, self.samples, "samples"))
        reference.close()
        outputs = tuple(meter.comparison() for meter in self.meters.values())
        return Verdict(
            self.label,
            self.runner.describe(),
            outputs,
            self._share(self.right) if self.truth is not None else None,
            self._share(self.agreeing) if self.classified else None,
        )

    def _add(self, wanted: dict[str, Any], got: dict[str, Any], rows: Any) -> None:
        from trtconv.data.compare import OutputMeter

        for name, reference in wanted.items():
            if name not in got:
                raise UsageError(
                    f"{self.label} has no output {name!r}; it has {', '.join(got)}",
                    hint="compare models with the same outputs",
                )
            if got[name].shape != reference.shape:
                raise UsageError(
                    f"output {name!r} of {self.label} has shape {list(got[name].shape)}, the reference "
                    f"{list(reference.shape)}",
                    hint="compare models of the same network and layout",
                )
            self.meters.setdefault(name, OutputMeter(name)).add(reference, got[name])
        self._classify(wanted, got, rows)

    def _classify(self, wanted: dict[str, Any], got: dict[str, Any], rows: Any) -> None:
        from trtconv.data.compare import classes, require_classes

        count = len(rows)
        for name, reference in wanted.items():
            predicted, expected = classes(got[name], count), classes(reference, count)
            if predicted is None or expected is None:
                continue
            self.classified += count
            self.agreeing += int((predicted == expected).sum())
            if self.truth is not None:
                truth = self.truth[rows]
                require_classes(truth, reference.shape[-1])
                self.right += int((predicted == truth).sum())
                self.reference_right += int((expected == truth).sum())
            return

    def _share(self, count: int) -> float:
        if not self.classified:
            raise UsageError(
                "labels are given, but no output has one row of classes per sample",
                hint="remove labels, or verify an output of shape [batch, classes]",
            )
        return 100.0 * count / self.classified


class _Reference:
    """The reference's outputs per batch: stored ones, or those of a model that runs along."""

    def __init__(self, request: VerifyRequest) -> None:
        from trtconv.data.arrays import npz_keys, open_npz_member

        self.path = request.reference
        stored = self.path.suffix == ".npz"
        self.runner = None if stored else _open(self.path)
        self.arrays = {key: open_npz_member(self.path, key) for key in npz_keys(self.path)} if stored else {}
        if stored and not (self.arrays and all(array.shape for array in self.arrays.values())):
            raise UsageError(f"{self.path}: no outputs of samples in it", hint="store an array per output of the model")

    def outputs(self, feeds: dict[str, Any], rows: Any) -> dict[str, Any]:
        if self.runner is not None:
            outputs: dict[str, Any] = self.runner.run(feeds)
            return outputs
        short = [name for name, array in self.arrays.items() if array.shape[0] <= rows.max()]
        if short:
            raise UsageError(
                f"{self.path}: {short[0]!r} has fewer samples than the data",
                hint="make the reference from the same data",
            )
        return {name: array.rows(rows) for name, array in self.arrays.items()}

    def close(self) -> None:
        if self.runner is not None:
            self.runner.close()


def _violations(request: VerifyRequest, reference_top1: float | None, verdicts: list[Verdict]) -> list[str]:
    found = []
    for verdict in (v for v in verdicts if not v.skipped):
        if verdict.overflows:
            from trtconv.stages.verify.tensors import describe

            found.append(f"{verdict.label}: overflows in half precision at {describe(verdict.overflows)}")
        for output in verdict.outputs:
            limit = request.max_rel.get(verdict.label)
            if not output.finite:
                found.append(f"{verdict.label}: output {output.output!r} holds NaN or infinity")
            elif limit is not None and output.max_rel > limit:
                found.append(
                    f"{verdict.label}: output {output.output!r} differs from {request.reference_label} by "
                    f"{output.max_rel:.3g} of its largest value; allowed {limit:g}"
                )
        drop = _drop(reference_top1, verdict.top1)
        if request.max_accuracy_drop is not None and drop > request.max_accuracy_drop:
            found.append(
                f"{verdict.label}: top-1 is {verdict.top1:.2f} %, {drop:.2f} points below "
                f"{request.reference_label}; allowed {request.max_accuracy_drop:g}"
            )
    return found


def _drop(reference: float | None, candidate: float | None) -> float:
    return 0.0 if reference is None or candidate is None else round(reference - candidate, 9)
