"""reference: the source framework's own outputs on the verification data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtconv.core.errors import SourceError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.names import did_you_mean
from trtconv.core.records import FeedSpec, SourceSpec, TensorInfo


@dataclass(frozen=True)
class ReferenceRequest:
    """What to run.

    Attributes:
        source: the model as the user gave it (SavedModel, Keras, ...), not the frozen graph.
        data: samples; in the source's own layout, but for those in ``first``.
        output: .npz to write: one array per output, first axis samples, named as the ONNX outputs are.
        outputs: outputs wanted, by name; empty: all.
        batch: samples per call.
        first: inputs whose samples are channels first, as the engine takes them, and which the source takes last.
    """

    source: SourceSpec
    data: FeedSpec
    output: Path
    outputs: tuple[str, ...] = ()
    batch: int = 32
    first: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReferenceResult:
    """The file written, how many samples it covers, and the framework with its version."""

    output: Path
    samples: int
    framework: str


def reference(request: ReferenceRequest, emit: Emit) -> ReferenceResult:
    """Run the model as it was given, batch by batch, and write all outputs.

    Raises:
        SourceError: damaged or foreign files, an unknown output, an output whose shape changes between batches.
        UsageError: samples that do not fit.
        MissingPackage: the framework is not installed.
    """
    import numpy as np

    from trtconv import sources
    from trtconv.core import files
    from trtconv.data.feeds import open_feed

    emit(Message("loading the source model"))
    model = sources.open_model(replace(request.source, outputs=request.outputs))
    names = _chosen(request, [info.name for info in model.outputs])
    feed = open_feed(request.data, tuple(_as_fed(info, request) for info in model.inputs))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    done = 0
    for rows, feeds in zip(feed.groups(request.batch), feed.batches(request.batch), strict=True):
        outputs, count = feed.of_samples(_run(model, feeds, request), rows), len(rows)
        for name in names:
            parts[name].append(_per_sample(name, outputs[name], count))
        done += count
        emit(Progress("running the source model", done, len(feed), "samples"))
    files.write_npz(request.output, {name: _joined(name, arrays) for name, arrays in parts.items()})
    return ReferenceResult(request.output, done, model.framework())


def _as_fed(info: TensorInfo, request: ReferenceRequest) -> TensorInfo:
    shape = info.shape
    return replace(info, shape=(shape[0], shape[-1], *shape[1:-1])) if info.name in request.first else info


def _run(model: Any, feeds: Any, request: ReferenceRequest) -> dict[str, Any]:
    """Outputs in the layout of the converted model."""
    from trtconv.data import conversion_check

    made = model.run({n: conversion_check.to_last(a) if n in request.first else a for n, a in feeds.items()})
    if request.source.channels_first:
        made = {name: conversion_check.to_first(a) if a.ndim == 4 else a for name, a in made.items()}
    return dict(made)


def _chosen(request: ReferenceRequest, available: list[str]) -> tuple[str, ...]:
    for name in request.outputs:
        if name not in available:
            raise SourceError(
                f"{request.source.path}: no output {name!r}; it has {', '.join(available)}",
                hint=did_you_mean(name, available) or "choose one of its outputs",
            )
    return request.outputs or tuple(available)


def _per_sample(name: str, array: Any, count: int) -> Any:
    if not array.ndim or len(array) != count:
        raise SourceError(
            f"output {name!r} has shape {list(array.shape)} for {count} samples: not one row per sample",
            hint="choose other outputs to compare with convert.outputs",
        )
    return array


def _joined(name: str, arrays: list[Any]) -> Any:
    import numpy as np

    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise SourceError(
            f"output {name!r} changes its shape between batches: {sorted(shapes)}",
            hint="verify with one batch, or choose other outputs with convert.outputs",
        )
    return np.concatenate(arrays)
