"""An ONNX model as it came becomes one of the opset and with the inputs and outputs that are wanted."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from trtconv.core.events import Emit, Message
from trtconv.core.records import Precision
from trtconv.graph import check, clean, composition, editing, layout, model_io, reshape
from trtconv.graph.contrib import MICROSOFT
from trtconv.sources.onnx.model import open_model
from trtconv.sources.records import Converted, Wanted


def convert(wanted: Wanted, emit: Emit) -> Converted:
    """Bring a model to the opset, shapes, layouts and outputs that are wanted.

    Raises:
        SourceError: a damaged file.
        ConversionError: an operator that is neither ONNX's nor a plugin's, sequences, a missing part.
    """
    model = model_io.load(wanted.source.path, aside=True)
    composition.take_over(model, dict(wanted.source.operators))
    clean.prepare(model)
    composed = composition.compose(model, dict(wanted.source.operators))
    _tell(composed, emit)
    if composed.counts:
        clean.prepare(model)  # what was put in has constants and names of its own
    check.require_onnx(model, plugins=True)
    check.require_tensors(model)
    check.require_whole(model)
    plugins = sorted({node.op_type for node, _ in check.foreign_nodes(model)})
    mistaken = check.mistaken(model)
    for op in plugins:
        emit(Message(f"operator {op} is not of ONNX: TensorRT needs a plugin for it", "warning"))
    for node, why in mistaken.items():
        emit(Message(f"node {node!r}: {why}, and compute something else", "warning"))
    was = editing.opset(model)
    editing.require_opset(model, wanted.opset)
    if was != editing.opset(model):
        emit(Message(f"opset {was} -> {editing.opset(model)}"))
        clean.prepare(model)  # the version converter makes Constant nodes and unnamed ones
    layout.inputs_first(model, wanted.first)
    reshape.set_shapes(model, wanted.inputs)
    reshape.keep_outputs(model, wanted.outputs)
    source = replace(wanted.source, path=model_io.file_of(wanted.source.path))
    opened = cache(lambda: open_model(source))  # it keeps no state from one run to the next
    return Converted(
        model,
        opened,
        done=opened.cache_clear,
        first=wanted.first,
        unchecked=_unchecked(model, composed),
        precision=Precision(composed.tolerance, composed.because),
        composed=tuple(composed.sentences()),
        own=not composed.counts,
        file=source.path,
    )


def _tell(composed: composition.Composed, emit: Emit) -> None:
    for text in composed.sentences():
        emit(Message(text))
    for text in composed.notes:
        emit(Message(text, "warning"))
    for node, why in composed.left.items():
        emit(Message(f"node {node!r} stays as it is: {why}", "warning"))


def _unchecked(model: Any, composed: composition.Composed) -> str:
    """Why ONNX Runtime cannot run the source; operators of its own it can."""
    plugins = sorted({node.op_type for node, _ in check.foreign_nodes(model) if node.domain not in _RUNTIME})
    if plugins:
        return f"{', '.join(plugins)} run as TensorRT plugins only"
    others = sorted({name for name, _ in composed.counts if name.partition("::")[0] not in _RUNTIME})
    return f"nothing here runs {', '.join(others)} but what stands for it" if others else ""


_RUNTIME = (MICROSOFT, "ai.onnx")
