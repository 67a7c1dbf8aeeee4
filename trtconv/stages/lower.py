"""lower: an FP32 ONNX model becomes a typed one; the result means the same on every TensorRT."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.records import KeepRules


@dataclass(frozen=True)
class LowerRequest:
    """What to lower.

    Attributes:
        model: FP32 ONNX.
        typed: typed ONNX to write.
        precision: fp32, tf32, fp16, bf16, int8 or fp8.
        cache: calibration cache; needed for int8 and fp8, used for half precision when its sidecar has magnitudes.
        base: precision of what int8 or fp8 leaves alone: fp16 or fp32.
        keep: nodes to leave in FP32.
        exclude: nodes to leave out of int8 or fp8 (they get ``base``).
        io_types: ``keep`` leaves inputs and outputs FP32, ``convert`` gives them the half type.
    """

    model: Path
    typed: Path
    precision: str
    cache: Path | None = None
    base: str = "fp16"
    keep: KeepRules = KeepRules()
    exclude: KeepRules = KeepRules()
    io_types: str = "keep"


@dataclass(frozen=True)
class LowerResult:
    """What the typed model holds.

    Attributes:
        typed: the file written.
        precision: as asked.
        weighted: number of weighted ops (Conv, Gemm, MatMul, ...) per type they compute in: ``{"int8": 3, "float16": 1}``.
        qdq_pairs: activation Q/DQ pairs.
        casts: Cast nodes that the lowering added.
        left_out: (node name, reason) for each node that did not get the precision asked for.
    """

    typed: Path
    precision: str
    weighted: dict[str, int] = field(default_factory=dict)
    qdq_pairs: int = 0
    casts: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
