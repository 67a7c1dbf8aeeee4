"""convert: a frozen graph, a TensorFlow Lite or an ONNX file becomes a checked, cleaned FP32 ONNX model."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv import __version__
from trtconv.core import errors
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.records import Comparison, InputSpec, SourceSpec, TensorInfo


@dataclass(frozen=True)
class ConvertRequest:
    """What to convert.

    Attributes:
        source: a frozen .pb (with the sidecar that freeze writes, if there is one) or an .onnx or .tflite file.
        model: the ONNX file to write.
        inputs: shapes and layouts asked for; empty keeps the source's.
        outputs: outputs to keep, by name; empty keeps all.
        opset: ONNX opset of the result.
        clean: whether to fold constants and drop what computes nothing.
        passes: rows of ``clean.PASSES`` to leave out.
        check: whether to run source and result on the same inputs and compare all outputs.
        check_data: .npz with the inputs to compare on; None: random ones.
        tolerance: largest difference allowed, over the largest value of the output.
        support: whether to ask the installed TensorRT which nodes it takes.
        origin: what the source was frozen from, for messages.
    """

    source: SourceSpec
    model: Path
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    opset: int = 17
    clean: bool = True
    passes: tuple[str, ...] = ()
    check: bool = True
    check_data: Path | None = None
    tolerance: float = 1e-4
    support: bool = True
    origin: Path | None = None


@dataclass(frozen=True)
class ConvertResult:
    """The model that was made.

    Attributes:
        model: the file.
        inputs: name, dtype and shape of each.
        outputs: likewise.
        opset: of the standard operators.
        nodes_before: before cleaning.
        nodes_after: after cleaning.
        transposes: nodes that only move between channels first and channels last.
        checked: per output, how far it is from the source; empty when that was not measured.
        unchecked: why not.
        asked: the TensorRT that was asked what it takes; empty: none is installed.
        refused: nodes that it does not take, each with its reason and what to do.
    """

    model: Path
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    opset: int
    nodes_before: int
    nodes_after: int
    transposes: int = 0
    checked: tuple[Comparison, ...] = ()
    unchecked: str = ""
    asked: str = ""
    refused: tuple[str, ...] = ()


@dataclass
class _Work:
    """What a source became, and what its check needs.

    Attributes:
        model: the ONNX model as converted.
        source: the source as something that runs; None: it cannot, or its outputs are known.
        sample: inputs and outputs of the source, from when it was frozen.
        first: inputs that the model takes channels first.
        unchecked: why the two cannot be compared.
        quantized: whether the source computes in integers what the model computes in floating point.
        nodes: operators of the source's nodes, by name.
    """

    model: Any
    source: Any = None
    sample: Any = None
    first: frozenset[str] = frozenset()
    unchecked: str = ""
    quantized: bool = False
    nodes: Mapping[str, str] = field(default_factory=dict)


_QUANTIZED = 0.05
"""Difference allowed where the source rounds to integers and the model does not."""


def convert(request: ConvertRequest, emit: Emit) -> ConvertResult:
    """Make the ONNX model, check every node of it, clean it, compare it with its source, and write it.

    Raises:
        SourceError: damaged or foreign files.
        ConversionError: an operator or a shape that ONNX cannot express; it names the node.
        UsageError: inputs that do not fit the model.
        AccuracyGateError: the model computes something else than its source.
        MissingPackage: TensorFlow or tf2onnx is needed and not installed.
    """
    with errors.about(request.origin or request.source.path):
        return _converted(request, emit)


def _converted(request: ConvertRequest, emit: Emit) -> ConvertResult:
    from trtconv.core import memory
    from trtconv.graph import check, clean, layout, model_io, reshape

    makers = {"onnx": _from_onnx, "frozen_pb": _from_frozen, "tflite": _from_lite}
    work = makers[_format(request)](request, emit)
    model = work.model
    memory.give_back()
    reshape.name_dims(model)
    before = clean.op_counts(model)
    if request.clean:
        clean.clean(model, [name for name in clean.PASSES if name not in request.passes])
    else:
        check.infer_shapes(model)
    after = clean.op_counts(model)
    emit(Message(_cleaned(before, after)))
    check.validate(model)
    reshape.name_dims(model)
    model.producer_name, model.producer_version = "trtconv", __version__
    transposes = layout.count(model)
    if transposes:
        emit(Message(f"{transposes} transposes between channels first and last remain"))
    inputs, outputs = model_io.interface(model)
    version = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    with tempfile.TemporaryDirectory(prefix=f".{request.model.name}.", dir=_folder(request)) as scratch:
        made = Path(scratch) / request.model.name
        model_io.save(model, made)
        work.model = model = None  # ONNX Runtime reads the file: the weights need not be held twice
        memory.give_back()
        checked = _checked(request, work, made, inputs, emit)
        memory.give_back()  # before TensorRT reads the model too
        asked, refused = _asked(request, work, made, emit)
        model_io.move(made, request.model)
    return ConvertResult(
        request.model,
        inputs,
        outputs,
        version,
        before.total(),
        after.total(),
        transposes,
        checked,
        work.unchecked,
        asked,
        refused,
    )


def _format(request: ConvertRequest) -> str:
    from trtconv import sources

    name = request.source.format if request.source.format != "auto" else sources.detect(request.source.path)
    if name not in ("onnx", "frozen_pb", "tflite"):
        raise UsageError(
            f"{request.source.path}: {name} is frozen first, then converted",
            hint="trtconv freeze makes a frozen graph of it",
        )
    return name


def _folder(request: ConvertRequest) -> Path:
    """Where the result goes, made if need be."""
    request.model.parent.mkdir(parents=True, exist_ok=True)
    return request.model.parent


def _first(request: ConvertRequest) -> frozenset[str]:
    return frozenset(spec.name for spec in request.inputs if spec.layout == "nchw")


def _from_onnx(request: ConvertRequest, emit: Emit) -> _Work:
    from dataclasses import replace

    from trtconv import sources
    from trtconv.graph import check, clean, editing, layout, model_io, reshape

    model = model_io.load(request.source.path)
    clean.prepare(model)
    check.require_onnx(model, plugins=True)
    check.require_tensors(model)
    check.require_whole(model)
    plugins = sorted({node.op_type for node, _ in check.foreign_nodes(model)})
    for op in plugins:
        emit(Message(f"operator {op} is not of ONNX: TensorRT needs a plugin for it", "warning"))
    was = editing.opset(model)
    editing.require_opset(model, request.opset)
    if was != editing.opset(model):
        emit(Message(f"opset {was} -> {editing.opset(model)}"))
        clean.prepare(model)  # the version converter makes Constant nodes and unnamed ones
    layout.inputs_first(model, _first(request))
    reshape.set_shapes(model, request.inputs)
    reshape.keep_outputs(model, request.outputs)
    source = replace(request.source, path=model_io.file_of(request.source.path))
    unchecked = f"{', '.join(plugins)} run as TensorRT plugins only" if plugins else ""
    return _Work(model, lambda: sources.open_model(source), first=_first(request), unchecked=unchecked)


def _from_frozen(request: ConvertRequest, emit: Emit) -> _Work:
    from dataclasses import replace

    from trtconv.adapters import tf2onnx
    from trtconv.graph import check, clean, layout, reshape
    from trtconv.sources.tensorflow import frozen_graph as frozen_files
    from trtconv.sources.tensorflow import frozen_pb, graph_edits, graphdef, to_onnx
    from trtconv.sources.tensorflow.framework import GraphNetwork

    emit(Message("importing TensorFlow"))
    frozen = frozen_pb.read(replace(request.source, outputs=request.outputs))
    frozen = replace(frozen, inputs=graphdef.with_shapes(frozen.graph, frozen.inputs, request.inputs))
    first = _first(request)
    for endpoint in frozen.inputs:
        if endpoint.name in first:
            layout.require_channels(endpoint.name, len(endpoint.shape or ()))
    emit(Message(f"converting {len(frozen.graph.node)} TensorFlow nodes with tf2onnx {tf2onnx.version()}"))
    model = to_onnx.to_onnx(frozen, request.opset, _folder(request), first)
    check.require_onnx(model)
    clean.prepare(model)
    shapes = {e.name: e.shape or () for e in frozen.inputs}
    shapes |= {
        name: tuple(shape[axis] for axis in layout.to_first(len(shape)))
        for name, shape in shapes.items()
        if name in first
    }
    reshape.set_shapes(model, tuple(InputSpec(name, shape) for name, shape in shapes.items()))
    if request.source.channels_first:
        check.infer_shapes(model)
        layout.outputs_first(model)
    reshape.remember_names(model, {e.name: e.tensor for e in (*frozen.inputs, *frozen.outputs)})
    random = graph_edits.random_nodes(frozen.graph)
    if random:
        emit(
            Message(
                f"node {random[0]!r} draws random numbers: dropout that is still on? "
                "source.constants: {keep_prob: 1.0} switches it off",
                "warning",
            )
        )
    sample = None if request.source.cuts or request.source.constants else frozen_files.sample(request.source.path)
    return _Work(
        model,
        lambda: GraphNetwork(frozen),
        sample,
        first,
        "it draws random numbers" if random else "",
        nodes={node.name: node.op for node in frozen.graph.node},
    )


def _from_lite(request: ConvertRequest, emit: Emit) -> _Work:
    from trtconv import sources
    from trtconv.graph import check, clean, layout, reshape
    from trtconv.sources.tflite import file
    from trtconv.sources.tflite import quantization as lite_graph
    from trtconv.sources.tflite import to_onnx as lite_converter

    emit(Message("importing TensorFlow"))
    lite = file.read(request.source.path)
    if lite.quantized:
        emit(
            Message(
                "the model is quantized: its arithmetic becomes floating point; choose a precision to quantize it "
                "again",
                "warning",
            )
        )
    model = lite_converter.to_onnx(
        request.source.path, lite.tensors, request.opset, _folder(request), dequantize=lite.quantized
    )
    check.require_onnx(model)
    clean.prepare(model)
    if lite.quantized:
        lite_graph.finish_dequantizing(model)
    reshape.set_shapes(model, tuple(InputSpec(info.name, info.shape) for info in lite.inputs))
    layout.inputs_first(model, _first(request))
    reshape.set_shapes(model, request.inputs)
    reshape.keep_outputs(model, request.outputs)
    reshape.remember_names(model, lite.tensors)
    return _Work(model, lambda: sources.open_model(request.source), first=_first(request), quantized=lite.quantized)


def _checked(
    request: ConvertRequest, work: _Work, made: Path, inputs: tuple[TensorInfo, ...], emit: Emit
) -> tuple[Comparison, ...]:
    """Compare the file with its source; says why where that cannot be."""
    from trtconv.data import conversion_check

    if not request.check or work.unchecked:
        work.unchecked = work.unchecked or "not asked for"
    else:
        given, wanted = _observed(request, work, inputs)
    if work.unchecked:
        emit(Message(f"not compared with the source: {work.unchecked}", "warning" if request.check else "info"))
        return ()
    found = conversion_check.compare(made, given, wanted, first=work.first, outputs_first=request.source.channels_first)
    conversion_check.require(found, max(request.tolerance, _QUANTIZED if work.quantized else 0))
    worst = max((c.max_rel for c in found), default=0.0)
    emit(Message(f"compared with the source: {len(found)} outputs, largest relative difference {worst:.2g}"))
    return found


def _observed(request: ConvertRequest, work: _Work, inputs: tuple[TensorInfo, ...]) -> tuple[Any, Any]:
    """Inputs and the source's outputs on them, by name; ``work.unchecked`` is set when it does not run."""
    import numpy as np

    from trtconv.data import conversion_check

    if request.check_data is None and work.sample is not None and work.sample.exists():
        with np.load(work.sample) as stored:
            arrays = dict(stored)
        names = {info.name for info in inputs}
        given = {key[3:]: array for key, array in arrays.items() if key.startswith("in.")}
        wanted = {key[4:]: array for key, array in arrays.items() if key.startswith("out.")}
        if wanted and given.keys() == names and _fit(given, work, inputs):
            return given, wanted
    try:
        if request.check_data is not None:
            with np.load(request.check_data) as stored:
                given = dict(stored)
        else:
            given = conversion_check.feeds(inputs)
        given = {name: conversion_check.to_last(a) if name in work.first else a for name, a in given.items()}
        wanted = work.source().run(given)
    except Exception as error:  # noqa: BLE001 - whatever the source does not like about random inputs
        work.unchecked = f"the source does not run on these inputs: {' '.join(str(error).split())[:300]}"
        return {}, {}
    keep = set(request.outputs)
    return given, {name: a for name, a in wanted.items() if not keep or name in keep}


def _fit(given: Any, work: _Work, inputs: tuple[TensorInfo, ...]) -> bool:
    """Whether stored inputs have the shapes that the model takes now."""
    from trtconv.data import conversion_check

    for info in inputs:
        array = conversion_check.to_first(given[info.name]) if info.name in work.first else given[info.name]
        if len(array.shape) != len(info.shape):
            return False
        if any(isinstance(d, int) and d != size for d, size in zip(info.shape, array.shape, strict=True)):
            return False
    return True


def _asked(request: ConvertRequest, work: _Work, made: Path, emit: Emit) -> tuple[str, tuple[str, ...]]:
    """What the installed TensorRT says of every node."""
    from trtconv.engines.build import support

    if not request.support:
        return "", ()
    verdict = support.verdict(made, made.with_name("parser.log"))
    refused = tuple(
        f"{refusal.why}{_origin(refusal.node, refusal.op, work.nodes)}; {refusal.remedy}"
        for refusal in verdict.refusals
    )
    for text in refused:
        emit(Message(f"{verdict.asked} will not build this: {text}", "warning"))
    if verdict.asked and not refused:
        emit(Message(f"{verdict.asked} takes every node"))
    return verdict.asked, refused


def _origin(node: str, op: str, nodes: Mapping[str, str]) -> str:
    """The TensorFlow node that an ONNX node was made from.

    tf2onnx appends ``__12`` or a part of its own to the name; a node that it calls after its operator only is the one
    of that operator (NonMaxSuppression of NonMaxSuppressionV3), if there is one.
    """
    name = re.sub(r"__\d+$", "", node)
    while name and name not in nodes:
        name = name.rpartition("/")[0]
    alike = [name for name, kind in nodes.items() if op and kind.startswith(op)]
    if not name and len(alike) == 1:
        name = alike[0]
    return f" (from TensorFlow's {name!r})" if name and name != node else ""


def _cleaned(before: Counter[str], after: Counter[str]) -> str:
    """``cleaning: 30 -> 24 nodes (Identity -4, Reshape -2)``."""
    changes = {op: after[op] - before[op] for op in sorted(before | after) if after[op] != before[op]}
    detail = ", ".join(f"{op} {change:+d}" for op, change in changes.items())
    return f"cleaning: {before.total()} -> {after.total()} nodes" + (f" ({detail})" if detail else "")
