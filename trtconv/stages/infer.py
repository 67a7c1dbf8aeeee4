"""infer: samples through an engine on a GPU, or through its typed ONNX on ONNX Runtime where no GPU can run it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.records import FeedSpec

if TYPE_CHECKING:
    from trtconv.backends.runner import Runner

_BATCH = 32  # samples per run where neither the request nor the model says


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


def infer(request: InferRequest, emit: Emit) -> InferResult:
    """Run all samples and write what comes out, in the samples' order.

    Raises:
        UsageError: samples, batch size, postprocessing or output file that do not fit the model.
        SourceError: a damaged model file.
        EnvironmentProblem: the engine cannot run here, and the request allows nothing else.
    """
    from trtconv.backends.runner import open_runner
    from trtconv.data import writers

    writers.check(request.output)
    runner, fell_back = open_runner(request.model, request.backend, request.fallback, request.device_api, emit)
    try:
        if fell_back:
            emit(Message(f"ONNX Runtime runs the ONNX model instead of the engine: {fell_back}", "warning"))
        return _run(request, runner, fell_back, emit)
    finally:
        runner.close()


def _run(request: InferRequest, runner: Runner, fell_back: str, emit: Emit) -> InferResult:
    from trtconv.backends import profiles
    from trtconv.data import postprocess, writers
    from trtconv.data.feeds import open_feed

    feed = open_feed(request.data, runner.inputs)
    labels = feed.labels()
    chain = postprocess.prepare(request.postprocess, [info.name for info in runner.outputs])
    size = request.batch or profiles.usual_batch(runner.inputs, runner.profiles) or _BATCH
    started, done, right = time.monotonic(), 0, 0
    with writers.open_writer(request.output) as writer:
        for batch in feed.batches(size):
            outputs = runner.run(batch)
            count = len(next(iter(batch.values())))
            if labels is not None:
                right += _right(outputs, labels[done : done + count])
            writer.add(chain(outputs))
            done += count
            emit(Progress("inference", done, len(feed), "samples"))
    accuracy = None if labels is None else 100.0 * right / done
    return InferResult(request.output, runner.describe(), fell_back, done, time.monotonic() - started, accuracy)


def _right(outputs: Mapping[str, Any], labels: Any) -> int:
    """How many samples have their label as the largest value of the first output."""
    name, scores = next(iter(outputs.items()))
    if scores.ndim < 2 or len(scores) != len(labels):
        raise UsageError(f"labels were given, but output {name!r} of shape {list(scores.shape)} holds no classes",
                         hint="leave data.labels out")  # fmt: skip
    return int((scores.reshape(len(labels), -1).argmax(1) == labels).sum())
