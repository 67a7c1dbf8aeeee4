"""convert: a source becomes a checked, cleaned FP32 ONNX model."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv import __version__
from trtconv.core import errors, unfinished
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.records import Comparison, InputSpec, SourceSpec, TensorInfo
from trtconv.sources.format import Converted, Wanted


@dataclass(frozen=True)
class ConvertRequest:
    """What to convert.

    Attributes:
        source: a model of a format that needs no freezing, or what freeze made of one.
        model: the ONNX file to write.
        inputs: shapes and layouts asked for; empty keeps the source's.
        outputs: outputs to keep, by name; empty keeps all.
        opset: ONNX opset of the result.
        clean: whether to fold constants and drop what computes nothing.
        passes: rows of ``clean.PASSES`` to leave out.
        check: whether to run source and result on the same inputs and compare all outputs.
        check_data: .npz with the inputs to compare on, by name; or with inputs and the source's outputs on them, as
            ``in.NAME`` and ``out.NAME``, where the source does not run here. None: random inputs.
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
        left_out: operators of the source that the model ends before, with their number; empty: it is whole.
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
    left_out: tuple[str, ...] = ()


_QUANTIZED = 0.05
"""Difference allowed where the source rounds to integers and the model does not."""


def convert(request: ConvertRequest, emit: Emit) -> ConvertResult:
    """Make the ONNX model, check every node of it, clean it, compare it with its source, and write it.

    Raises:
        SourceError: damaged or foreign files.
        ConversionError: an operator or a shape that ONNX cannot express; it names the node.
        UsageError: inputs that do not fit the model.
        AccuracyGateError: the model computes something else than its source.
        MissingPackage: a framework is needed and not installed.
        EnvironmentProblem: the interpreter that the source names is missing, or lacks it.
    """
    with errors.about(request.origin or request.source.path):
        return _converted(request, emit)


def _converted(request: ConvertRequest, emit: Emit) -> ConvertResult:
    from trtconv.core import memory
    from trtconv.graph import check, clean, layout, model_io, reshape

    work = _from_source(request, emit)
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
    with unfinished.folder(_folder(request), f".{request.model.name}.") as scratch:
        made = scratch / request.model.name
        model_io.save(model, made)
        work.model = model = None  # ONNX Runtime reads the file: the weights need not be held twice
        memory.give_back()
        checked = _checked(request, work, made, inputs, emit)
        memory.give_back()  # before TensorRT reads the model too
        asked, refused = _asked(request, work, made, emit)
        model_io.move(made, request.model)
    return ConvertResult(
        model=request.model,
        inputs=inputs,
        outputs=outputs,
        opset=version,
        nodes_before=before.total(),
        nodes_after=after.total(),
        transposes=transposes,
        checked=checked,
        unchecked=work.unchecked,
        asked=asked,
        refused=refused,
        left_out=work.left_out,
    )


def _from_source(request: ConvertRequest, emit: Emit) -> Converted:
    from trtconv import sources

    found = sources.of(request.source)
    if found.frozen_first:
        raise UsageError(
            f"{request.source.path}: {found.name} is frozen first, then converted",
            hint="trtconv freeze makes a frozen graph of it",
        )
    wanted = Wanted(
        source=request.source,
        inputs=request.inputs,
        outputs=request.outputs,
        opset=request.opset,
        scratch=_folder(request),
    )
    return found.convert(wanted, emit)


def _folder(request: ConvertRequest) -> Path:
    """Where the result goes, made if need be."""
    request.model.parent.mkdir(parents=True, exist_ok=True)
    return request.model.parent


def _checked(
    request: ConvertRequest, work: Converted, made: Path, inputs: tuple[TensorInfo, ...], emit: Emit
) -> tuple[Comparison, ...]:
    """Compare the file with its source; says why where that cannot be."""
    from trtconv.data import conversion_check

    stored = _given(request, work, inputs) if request.check else None
    if not request.check:
        work.unchecked = work.unchecked or "not asked for"
    elif stored is not None:
        given, wanted = stored
    elif not work.unchecked:
        given, wanted = _observed(request, work, inputs)
    if work.unchecked:
        emit(Message(f"not compared with the source: {work.unchecked}", "warning" if request.check else "info"))
        return ()
    found = conversion_check.compare(made, given, wanted, first=work.first, outputs_first=request.source.channels_first)
    conversion_check.require(found, max(request.tolerance, _QUANTIZED if work.quantized else 0))
    worst = max((c.max_rel for c in found), default=0.0)
    what = "the source" if stored is None else f"outputs in {request.check_data}"
    emit(Message(f"compared with {what}: {len(found)} outputs, largest relative difference {worst:.2g}"))
    return found


def _given(request: ConvertRequest, work: Converted, inputs: tuple[TensorInfo, ...]) -> tuple[Any, Any] | None:
    """Inputs and outputs that the user has already, from a run elsewhere; None: inputs only, or nothing.

    Raises:
        UsageError: they are not those of the model.
    """
    given, wanted = _stored(request.check_data)
    if not wanted:
        return None
    if given.keys() != {info.name for info in inputs} or not _fit(given, work, inputs):
        takes = ", ".join(f"in.{info.name} {list(info.shape)}" for info in inputs)
        has = ", ".join(f"in.{name} {list(array.shape)}" for name, array in given.items()) or "no inputs"
        raise UsageError(f"{request.check_data}: holds {has}; the model takes {takes}", hint="convert.check_data")
    work.unchecked = ""
    return given, wanted


def _stored(path: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of a file that has both, as ``in.NAME`` and ``out.NAME``."""
    import numpy as np

    if path is None or not path.exists():
        return {}, {}
    with np.load(path) as stored:
        arrays = dict(stored)
    given = {key[3:]: array for key, array in arrays.items() if key.startswith("in.")}
    return given, {key[4:]: array for key, array in arrays.items() if key.startswith("out.")}


def _observed(request: ConvertRequest, work: Converted, inputs: tuple[TensorInfo, ...]) -> tuple[Any, Any]:
    """Inputs and the source's outputs on them, by name; ``work.unchecked`` is set when it does not run."""
    import numpy as np

    from trtconv.data import conversion_check

    if request.check_data is None:
        given, wanted = _stored(work.sample)
        if wanted and given.keys() == {info.name for info in inputs} and _fit(given, work, inputs):
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


def _fit(given: Any, work: Converted, inputs: tuple[TensorInfo, ...]) -> bool:
    """Whether stored inputs have the shapes that the model takes now."""
    from trtconv.data import conversion_check

    for info in inputs:
        array = conversion_check.to_first(given[info.name]) if info.name in work.first else given[info.name]
        if len(array.shape) != len(info.shape):
            return False
        if any(isinstance(d, int) and d != size for d, size in zip(info.shape, array.shape, strict=True)):
            return False
    return True


def _asked(request: ConvertRequest, work: Converted, made: Path, emit: Emit) -> tuple[str, tuple[str, ...]]:
    """What the installed TensorRT says of every node."""
    from trtconv.engines.build import support

    if not request.support:
        return "", ()
    verdict = support.verdict(made, made.with_name("parser.log"))
    refused = tuple(
        f"{refusal.why}{_origin(refusal.node, refusal.op, work)}; {refusal.remedy}" for refusal in verdict.refusals
    )
    for text in refused:
        emit(Message(f"{verdict.asked} will not build this: {text}", "warning"))
    if verdict.asked and not refused:
        emit(Message(f"{verdict.asked} takes every node"))
    return verdict.asked, refused


def _origin(node: str, op: str, work: Converted) -> str:
    """The source's node that an ONNX node was made from.

    tf2onnx appends ``__12`` or a part of its own to the name; a node that it calls after its operator only is the one
    of that operator (NonMaxSuppression of NonMaxSuppressionV3), if there is one.
    """
    name = re.sub(r"__\d+$", "", node)
    nodes = work.nodes
    while name and name not in nodes:
        name = name.rpartition("/")[0]
    alike = [name for name, kind in nodes.items() if op and kind.startswith(op)]
    if not name and len(alike) == 1:
        name = alike[0]
    return f" (from {work.nodes_of}'s {name!r})" if name and name != node else ""


def _cleaned(before: Counter[str], after: Counter[str]) -> str:
    """``cleaning: 30 -> 24 nodes (Identity -4, Reshape -2)``."""
    changes = {op: after[op] - before[op] for op in sorted(before | after) if after[op] != before[op]}
    detail = ", ".join(f"{op} {change:+d}" for op, change in changes.items())
    return f"cleaning: {before.total()} -> {after.total()} nodes" + (f" ({detail})" if detail else "")
