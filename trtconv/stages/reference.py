"""reference: the source framework's own outputs on the verification data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core.errors import SourceError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.names import did_you_mean
from trtconv.core.records import FeedSpec, SourceSpec


@dataclass(frozen=True)
class ReferenceRequest:
    """What to run.

    Attributes:
        source: the model as the user gave it (SavedModel, Keras, ...), not the frozen graph.
        data: samples; in the source's own layout.
        output: .npz to write: one array per output, first axis samples, named as the ONNX outputs are.
        outputs: outputs wanted, by name; empty: all.
        batch: samples per call.
    """

    source: SourceSpec
    data: FeedSpec
    output: Path
    outputs: tuple[str, ...] = ()
    batch: int = 32


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
    model = sources.open_model(request.source)
    names = _chosen(request, [info.name for info in model.outputs])
    feed = open_feed(request.data, model.inputs)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    done = 0
    for feeds in feed.batches(request.batch):
        outputs = model.run(feeds)
        count = len(next(iter(feeds.values())))
        for name in names:
            parts[name].append(_per_sample(name, outputs[name], count))
        done += count
        emit(Progress("running the source model", done, len(feed), "samples"))
    with files.atomic_path(request.output) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **{name: _joined(name, arrays) for name, arrays in parts.items()})
    return ReferenceResult(request.output, done, model.framework())


def _chosen(request: ReferenceRequest, available: list[str]) -> tuple[str, ...]:
    for name in request.outputs:
        if name not in available:
            raise SourceError(f"{request.source.path}: no output {name!r}; it has {', '.join(available)}",
                              hint=did_you_mean(name, available) or "choose one of its outputs")  # fmt: skip
    return request.outputs or tuple(available)


def _per_sample(name: str, array: Any, count: int) -> Any:
    if not array.ndim or len(array) != count:
        raise SourceError(f"output {name!r} has shape {list(array.shape)} for {count} samples: not one row per sample",
                          hint="choose other outputs to compare with convert.outputs")  # fmt: skip
    return array


def _joined(name: str, arrays: list[Any]) -> Any:
    import numpy as np

    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise SourceError(f"output {name!r} changes its shape between batches: {sorted(shapes)}",
                          hint="verify with one batch, or choose other outputs with convert.outputs")  # fmt: skip
    return np.concatenate(arrays)
