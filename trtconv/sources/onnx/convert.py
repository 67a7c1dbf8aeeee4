"""An ONNX model as it came becomes one of the opset and with the inputs and outputs that are wanted."""

from __future__ import annotations

from dataclasses import replace

from trtconv.core.events import Emit, Message
from trtconv.graph import check, clean, editing, layout, model_io, reshape
from trtconv.sources.format import Converted, Wanted
from trtconv.sources.onnx.model import open_model


def convert(wanted: Wanted, emit: Emit) -> Converted:
    """Bring a model to the opset, shapes, layouts and outputs that are wanted.

    Raises:
        SourceError: a damaged file.
        ConversionError: an operator that is neither ONNX's nor a plugin's, sequences, a missing part.
    """
    model = model_io.load(wanted.source.path)
    clean.prepare(model)
    check.require_onnx(model, plugins=True)
    check.require_tensors(model)
    check.require_whole(model)
    plugins = sorted({node.op_type for node, _ in check.foreign_nodes(model)})
    for op in plugins:
        emit(Message(f"operator {op} is not of ONNX: TensorRT needs a plugin for it", "warning"))
    was = editing.opset(model)
    editing.require_opset(model, wanted.opset)
    if was != editing.opset(model):
        emit(Message(f"opset {was} -> {editing.opset(model)}"))
        clean.prepare(model)  # the version converter makes Constant nodes and unnamed ones
    layout.inputs_first(model, wanted.first)
    reshape.set_shapes(model, wanted.inputs)
    reshape.keep_outputs(model, wanted.outputs)
    source = replace(wanted.source, path=model_io.file_of(wanted.source.path))
    unchecked = f"{', '.join(plugins)} run as TensorRT plugins only" if plugins else ""
    return Converted(model, lambda: open_model(source), first=wanted.first, unchecked=unchecked)
