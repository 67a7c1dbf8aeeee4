"""infer: samples through an engine on a GPU, or through its typed ONNX on ONNX Runtime where no GPU can run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trtconv.core.records import FeedSpec


@dataclass(frozen=True)
class InferRequest:
    """What to run.

    Attributes:
        model: .engine or .onnx.
        fallback: typed ONNX to run where the engine cannot run (``backend: auto`` only); None: the one that the
            engine's sidecar names, if it is there.
        data: samples.
        output: file to write: .npz (one array per output, first axis samples), .json, .jsonl or .csv.
        backend: ``auto`` (the engine on a GPU, else ONNX Runtime, saying so), ``tensorrt``, ``rtx`` or ``onnxruntime``;
            anything but auto never falls back.
        batch: samples per run; None: the profile's opt, or 32.
        postprocess: rows of postprocessing, applied in order (see ``data.postprocess``).
        device_api: ``auto``, ``cuda`` or ``pycuda``.
    """

    model: Path
    data: FeedSpec
    output: Path
    fallback: Path | None = None
    backend: str = "auto"
    batch: int | None = None
    postprocess: tuple[Mapping[str, object], ...] = ()
    device_api: str = "auto"


@dataclass(frozen=True)
class InferResult:
    """What ran.

    Attributes:
        output: the file written.
        runner: what ran it, such as ``TensorRT-RTX 1.5.0.114 on NVIDIA H200`` or ``ONNX Runtime 1.31.1 on CPU``.
        fell_back: why the engine did not run; empty when it did or was not asked for.
        samples: in order.
        seconds: from first sample read to last result written.
        accuracy: per cent of labelled samples whose argmax is right; None without labels.
    """

    output: Path
    runner: str
    fell_back: str
    samples: int
    seconds: float
    accuracy: float | None = None
