"""convert: a frozen graph or an ONNX file becomes a checked, cleaned FP32 ONNX model with inferred shapes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv import __version__
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.records import InputSpec, SourceSpec, TensorInfo


@dataclass(frozen=True)
class ConvertRequest:
    """What to convert.

    Attributes:
        source: a frozen .pb (with the sidecar that freeze writes, if there is one) or an .onnx file.
        model: the ONNX file to write.
        inputs: shapes and layouts asked for; empty keeps the source's.
        outputs: outputs to keep, by name; empty keeps all.
        opset: ONNX opset of the result.
        clean: whether to fold constants and drop what computes nothing.
    """

    source: SourceSpec
    model: Path
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    opset: int = 17
    clean: bool = True


@dataclass(frozen=True)
class ConvertResult:
    """The model that was made: its interface and its number of nodes before and after cleaning."""

    model: Path
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    opset: int
    nodes_before: int
    nodes_after: int


def convert(request: ConvertRequest, emit: Emit) -> ConvertResult:
    """Make the ONNX model, check every node of it, clean it and write it.

    Raises:
        SourceError: damaged or foreign files.
        ConversionError: an operator or a shape that ONNX cannot express; it names the node.
        UsageError: inputs that do not fit the model.
        MissingPackage: TensorFlow or tf2onnx is needed and not installed.
    """
    from trtconv.graph import check, clean, model_io, reshape

    model = _from_onnx(request, emit) if _format(request) == "onnx" else _from_frozen(request, emit)
    reshape.name_dims(model)
    before = clean.op_counts(model)
    if request.clean:
        clean.clean(model)
    else:
        check.infer_shapes(model)
    after = clean.op_counts(model)
    emit(Message(_cleaned(before, after)))
    check.validate(model)
    reshape.name_dims(model)
    model.producer_name, model.producer_version = "trtconv", __version__
    model_io.save(model, request.model)
    inputs, outputs = model_io.interface(model)
    version = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    return ConvertResult(request.model, inputs, outputs, version, before.total(), after.total())


def _format(request: ConvertRequest) -> str:
    from trtconv import sources

    name = request.source.format if request.source.format != "auto" else sources.detect(request.source.path)
    if name not in ("onnx", "frozen_pb"):
        raise UsageError(f"{request.source.path}: {name} is frozen first, then converted",
                         hint="trtconv freeze makes a frozen graph of it")  # fmt: skip
    if any(spec.layout != "keep" for spec in request.inputs):
        raise UsageError("inputs: the layout of an input cannot be changed", hint="use layout: keep")
    return name


def _from_onnx(request: ConvertRequest, emit: Emit) -> Any:
    from trtconv.graph import check, clean, editing, model_io, reshape

    model = model_io.load(request.source.path)
    clean.prepare(model)
    check.require_onnx(model, plugins=True)
    for op in sorted({node.op_type for node, _ in check.foreign_nodes(model)}):
        emit(Message(f"operator {op} is not of ONNX: TensorRT needs a plugin for it", "warning"))
    was = editing.opset(model)
    editing.require_opset(model, request.opset)
    if was != editing.opset(model):
        emit(Message(f"opset {was} -> {editing.opset(model)}"))
        clean.prepare(model)  # the version converter makes Constant nodes and unnamed ones
    reshape.set_shapes(model, request.inputs)
    reshape.keep_outputs(model, request.outputs)
    return model


def _from_frozen(request: ConvertRequest, emit: Emit) -> Any:
    from dataclasses import replace

    from trtconv.adapters import graphdef, tf2onnx
    from trtconv.graph import check, clean, reshape
    from trtconv.sources import frozen_pb

    emit(Message("importing TensorFlow"))
    frozen = frozen_pb.read(request.source, request.outputs)
    frozen = replace(frozen, inputs=graphdef.with_shapes(frozen.graph, frozen.inputs, request.inputs))
    emit(Message(f"converting {len(frozen.graph.node)} TensorFlow nodes with tf2onnx {tf2onnx.version()}"))
    model = tf2onnx.to_onnx(frozen, request.opset)
    check.require_onnx(model)
    clean.prepare(model)
    reshape.set_shapes(model, tuple(InputSpec(e.name, e.shape) for e in frozen.inputs))
    reshape.remember_names(model, {e.name: e.tensor for e in (*frozen.inputs, *frozen.outputs)})
    return model


def _cleaned(before: Counter[str], after: Counter[str]) -> str:
    """``cleaning: 30 -> 24 nodes (Identity -4, Reshape -2)``."""
    changes = {op: after[op] - before[op] for op in sorted(before | after) if after[op] != before[op]}
    detail = ", ".join(f"{op} {change:+d}" for op, change in changes.items())
    return f"cleaning: {before.total()} -> {after.total()} nodes" + (f" ({detail})" if detail else "")
