"""What a comparison of models is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.records import Comparison, FeedSpec

NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Bound:
    """What every output must keep.

    Attributes:
        max_rel: largest difference over the largest magnitude; None: no bound.
        min_snr_db: signal-to-noise ratio in dB; None: no bound.
        min_cosine: cosine similarity; None: no bound.
    """

    max_rel: float | None = None
    min_snr_db: float | None = None
    min_cosine: float | None = None

    def __str__(self) -> str:
        """``relative difference at most 0.01, SNR at least 30 dB``; ``no bound``."""
        parts = [] if self.max_rel is None else [f"relative difference at most {self.max_rel:g}"]
        parts += [] if self.min_snr_db is None else [f"SNR at least {self.min_snr_db:g} dB"]
        parts += [] if self.min_cosine is None else [f"cosine at least {self.min_cosine:g}"]
        return ", ".join(parts) or "no bound"


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
