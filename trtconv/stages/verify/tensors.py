"""Inside a typed ONNX model: which half-precision tensors overflow, and how far each tensor is from its FP32 self.

Typed models are computed strictly, see ``graph.strict``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trtconv.adapters import onnxruntime
from trtconv.core.events import Emit, Progress, ignore
from trtconv.core.records import FeedSpec
from trtconv.data.compare import OutputMeter
from trtconv.data.feeds import Feed, open_feed
from trtconv.graph import editing, model_io, observe, strict, types
from trtconv.stages.verify.records import Layer, Overflow

MEMORY = 256 * 2**20
"""Bytes of fetched tensors held at a time."""

_HALF = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})
_FLOATS = _HALF | {onnx.TensorProto.FLOAT}


class Inside:
    """A model of which every tensor of some types can be had, batch by batch.

    Args:
        model: ONNX, in memory.
        kinds: element types of the tensors to have.
        only: names to choose among; None: all.
    """

    def __init__(
        self, model: Any, kinds: frozenset[int], only: frozenset[str] | None = None, optimize: bool = False
    ) -> None:
        editing.hoist_constants(model)
        self.model = model
        self.makers = editing.producers(model.graph)
        self.scope = types.infer(model)
        self.names = [name for name in self.makers if self.scope.find(name) in kinds and (only is None or name in only)]
        self._optimize = optimize

    def open(self) -> None:
        """Make the runtime ready.

        Raises:
            NoKernel: the runtime cannot run the model's types.
        """
        if strict.needed(self.model):
            model = onnx.load_from_string(observe.observed(self.model, self.names))
            self._run = strict.session(model).run_reusing
        else:
            serialized = observe.observed(self.model, self.names)
            self._run = onnxruntime.session(serialized, optimize=self._optimize).run_reusing

    def room(self, data: FeedSpec) -> int:
        """How many samples may run at a time; at least one."""
        feeds = next(self._feed(data).batches(1))
        size = sum(array.nbytes for array in self._run(feeds).values())
        return max(len(next(iter(feeds.values()))) * MEMORY // max(size, 1), 1)

    def runs(self, data: FeedSpec, batch: int, emit: Emit, label: str) -> Iterator[dict[str, Any]]:
        """Inputs and tensors by name, batch by batch; arrays are valid until the next."""
        feed = self._feed(data)
        done = 0
        for feeds in feed.batches(batch):
            yield {**feeds, **self._run(feeds)}
            done += len(next(iter(feeds.values())))
            emit(Progress(label, done, len(feed), "samples"))

    def _feed(self, data: FeedSpec) -> Feed:
        return open_feed(data, model_io.interface(self.model)[0])


def overflows(
    path: Path, data: FeedSpec, batch: int, fp32: Path | None = None, emit: Emit = ignore
) -> tuple[Overflow, ...]:
    """Where a typed model leaves the range of its 16-bit type on the data, in graph order.

    Args:
        path: typed ONNX.
        data: samples.
        batch: samples per run.
        fp32: the model that it was made from: what is not finite there is no overflow.
        emit: gets progress.

    Raises:
        NoKernel: the runtime cannot run one of the operators.
    """
    return overflows_of(model_io.load(path), data, batch, fp32 and model_io.load(fp32), emit)


def overflows_of(model: Any, data: FeedSpec, batch: int, fp32: Any = None, emit: Emit = ignore) -> tuple[Overflow, ...]:
    """The same of models in memory."""
    inside = Inside(model, _FLOATS)
    if not any(inside.scope[name] in _HALF for name in inside.names):
        return ()
    meant = {name for name, tensor in editing.initializers(model.graph).items() if not _finite(tensor)}
    infinite = _not_finite(inside, data, batch, emit)
    if fp32 is not None and infinite:
        twin = Inside(fp32, frozenset({onnx.TensorProto.FLOAT}), frozenset(inside.names))
        there = _not_finite(twin, data, batch, ignore)
        infinite -= {name for name in there if name in infinite}
        meant |= there
    for name in inside.names:  # a Cast that the typed model has alone
        if name in infinite and fp32 is not None and name not in twin.names and _reads(inside.makers[name], meant):
            infinite.discard(name)
            meant.add(name)
    broken = infinite | meant
    origins = [name for name in inside.names if name in infinite and not _reads(inside.makers[name], broken)]
    return tuple(
        Overflow(name, editing.label(inside.makers[name]), inside.makers[name].op_type)
        for name in origins
        if inside.scope[name] in _HALF
    )


def _not_finite(inside: Inside, data: FeedSpec, batch: int, emit: Emit) -> set[str]:
    """Tensors that hold NaN or infinity."""
    inside.open()
    found: set[str] = set()
    for arrays in inside.runs(data, min(batch, inside.room(data)), emit, "looking for overflow"):
        found |= {name for name, array in arrays.items() if array.dtype.kind in "fV" and not np.isfinite(array).all()}
    return found


def _reads(node: Any, names: set[str]) -> bool:
    return any(name in names for name in node.input)


def _finite(tensor: Any) -> bool:
    values = editing.array(tensor)
    return values.dtype.kind not in "fV" or bool(np.isfinite(values.astype(np.float32)).all())


def layers(reference: Path, candidate: Path, data: FeedSpec, batch: int, emit: Emit = ignore) -> tuple[Layer, ...]:
    """Every tensor that both models have, by signal-to-noise ratio, the worst first.

    Args:
        reference: FP32 ONNX.
        candidate: typed ONNX made from it: lowering keeps the names of tensors.
        data: samples.
        batch: samples per run.
        emit: gets progress.
    """
    wanted = Inside(model_io.load(reference), frozenset({onnx.TensorProto.FLOAT}), optimize=True)
    typed = Inside(model_io.load(candidate), _FLOATS, frozenset(wanted.names))
    wanted.names = typed.names
    meters = {name: OutputMeter(name) for name in typed.names}
    for inside in (wanted, typed):
        inside.open()
    batch = min(batch, wanted.room(data), typed.room(data))
    runs = zip(wanted.runs(data, batch, ignore, ""), typed.runs(data, batch, emit, "comparing tensors"), strict=True)
    for expected, got in runs:
        for name, meter in meters.items():
            meter.add(expected[name], got[name])
    found = [_layer(typed, name, meter) for name, meter in meters.items()]
    return tuple(sorted(found, key=lambda layer: (layer.comparison.finite, layer.comparison.snr_db)))


def _layer(typed: Inside, name: str, meter: OutputMeter) -> Layer:
    node = typed.makers[name]
    return Layer(editing.label(node), node.op_type, types.name_of(typed.scope.find(name)), meter.comparison())


def describe(found: Sequence[Overflow], shown: int = 3) -> str:
    """``'squares' (Pow 'square')`` for the first few."""
    text = ", ".join(f"{o.tensor!r} ({o.op} {o.node!r})" for o in found[:shown])
    return text + (f" and {len(found) - shown} more" if len(found) > shown else "")
