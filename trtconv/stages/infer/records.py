"""What infer is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core.records import AS_USUAL, FeedSpec, Loading


@dataclass(frozen=True)
class InferRequest:
    """What to run.

    Attributes:
        model: .engine or .onnx.
        fallback: typed ONNX to run where the engine cannot run (``backend: auto`` only); None: the one that the
            engine's sidecar names, if it is there.
        data: samples.
        output: file to write: .npz (one array per output, first axis samples), .npy, .json, .jsonl or .csv.
        backend: ``auto`` (the engine on a GPU, else ONNX Runtime, saying so), ``tensorrt``, ``rtx`` or ``onnxruntime``;
            anything but auto never falls back.
        batch: samples per run; None: the profile's opt, or 32.
        postprocess: rows of postprocessing, applied in order (see ``data.postprocess``).
        device_api: ``auto``, ``cuda`` or ``pycuda``.
        contexts: execution contexts that work at the same time; None: 6, and fewer where the GPU's memory does not take
            them. More threads than that read and postprocess samples. With ONNX Runtime: threads; None: 2.
        strict: whether a bad file or sample ends the run; otherwise it is reported and left out.
        allow_code: whether postprocessing may call functions of the user's.
        loading: how the engine is loaded.
    """

    model: Path
    data: FeedSpec
    output: Path
    fallback: Path | None = None
    backend: str = "auto"
    batch: int | None = None
    postprocess: tuple[Mapping[str, object], ...] = ()
    device_api: str = "auto"
    contexts: int | None = None
    strict: bool = False
    allow_code: bool = False
    loading: Loading = AS_USUAL


@dataclass(frozen=True)
class InferResult:
    """What ran.

    Attributes:
        output: the file written.
        runner: what ran it, such as ``TensorRT-RTX 1.5.0.114 on NVIDIA H200`` or ``ONNX Runtime 1.31.1 on CPU``;
            ``strict`` in it: a typed model computed as its types say.
        fell_back: why the engine did not run; empty when it did or was not asked for.
        samples: in order.
        seconds: from first sample read to last result written; contexts are ready by then.
        accuracy: per cent of labelled samples whose argmax is right; None without labels.
        skipped: what is wrong with each file or sample that was left out.
        contexts: execution contexts, or threads with ONNX Runtime.
        preparing: seconds before that, to make contexts and compile kernels.
        threads: that read, ran and postprocessed.
        decoders: processes that decoded images; 0: the threads did, or there were none.
        weights: bytes of weights that could be streamed (``streamable``), of those on the GPU (``budget``) and of each
            context's ``scratch`` memory; empty for an engine that streams none.
        scaled_on: ``GPU`` where it made the samples of decoded images, ``CPU`` where these did; empty without.
    """

    output: Path
    runner: str
    fell_back: str
    samples: int
    seconds: float
    accuracy: float | None = None
    skipped: tuple[str, ...] = ()
    contexts: int = 1
    preparing: float = 0.0
    threads: int = 1
    decoders: int = 0
    scaled_on: str = ""
    weights: Mapping[str, int] = field(default_factory=dict)
