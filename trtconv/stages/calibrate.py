"""calibrate: activation ranges of an FP32 ONNX model on real samples become a TensorRT calibration cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtconv.core.records import FeedSpec


@dataclass(frozen=True)
class CalibrateRequest:
    """What to calibrate.

    Attributes:
        model: FP32 ONNX.
        data: samples.
        cache: the cache to write (TensorRT text format); ``<cache>.json`` beside it holds its facts (model digest,
            data digest, method, samples) and every tensor's measured largest magnitude, for the half-precision rules.
        method: a row of ``trtconv.calibration.methods.METHODS``.
        batch: samples per run.
        seed: order of the samples when fewer are used than there are.
    """

    model: Path
    data: FeedSpec
    cache: Path
    method: str = "minmax"
    batch: int = 10
    seed: int = 0


@dataclass(frozen=True)
class CalibrateResult:
    """The cache written: how many tensors it covers, from how many samples, by which method."""

    cache: Path
    tensors: int
    samples: int
    method: str
