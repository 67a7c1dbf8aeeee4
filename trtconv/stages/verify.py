"""verify: outputs of several forms of one model, compared with a reference and with labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.records import Comparison, FeedSpec


@dataclass(frozen=True)
class VerifyRequest:
    """What to compare.

    Attributes:
        reference: .npz of outputs (see ``reference``), or a model file that makes them.
        reference_label: what the report calls it: ``TensorFlow``, ``FP32 ONNX``, a file name.
        candidates: label -> .onnx or .engine; compared in this order.
        data: samples, with labels where accuracy is wanted.
        batch: samples per run.
        max_rel: tolerance on ``Comparison.max_rel`` per candidate label; exceeding it is an AccuracyGateError.
        max_accuracy_drop: points (0..100) of top-1 that a candidate may lose against the reference; None: no gate.
        tolerate_missing_gpu: an .engine candidate that cannot run here is reported as skipped instead of failing.
    """

    reference: Path
    reference_label: str
    candidates: Mapping[str, Path]
    data: FeedSpec
    batch: int = 32
    max_rel: Mapping[str, float] = field(default_factory=dict)
    max_accuracy_drop: float | None = None
    tolerate_missing_gpu: bool = True


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
    """

    label: str
    runner: str
    outputs: tuple[Comparison, ...] = ()
    top1: float | None = None
    agreement: float | None = None
    skipped: str = ""


@dataclass(frozen=True)
class VerifyResult:
    """All verdicts, the reference's own top-1 and the number of samples."""

    samples: int
    reference_label: str
    reference_top1: float | None
    verdicts: tuple[Verdict, ...]
