"""convert: a source becomes a checked, cleaned FP32 ONNX model."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv import __version__
from trtconv.core import errors, files, unfinished
from trtconv.core.errors import ConversionError, UsageError
from trtconv.core.events import Emit, Message, Running
from trtconv.core.records import Comparison, InputSpec, SourceSpec, TensorInfo

if TYPE_CHECKING:  # a run with nothing to do reads results as these modules have them, and no more
    from trtconv.data.conversion_check import Observed, Verdict
    from trtconv.sources.records import Converted


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
            ``in.NAME`` and ``out.NAME``, where the source does not run here. None: random inputs, in several draws.
        check_seconds: how long source and result may take for that, each.
        unrun: why source and result must not run, where that was tried.
        tolerance: largest difference allowed of floating-point outputs, over the largest value of the output.
        support: whether to ask the installed TensorRT which nodes it takes.
        origin: what the source was frozen from, for messages.
        passing: whether the file is gone in the end: where it would be the source, it is a link to that.
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
    check_seconds: float = 60.0
    unrun: str = ""
    tolerance: float = 1e-4
    support: bool = True
    origin: Path | None = None
    passing: bool = False

    def without_running(self, why: str) -> ConvertRequest:
        """The same, without running source and result: that ended the process."""
        return replace(self, unrun=why)


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
        checked: per output, how far it is from the source at worst; empty when that was not measured.
        draws: on how many sets of inputs that was measured.
        unjudged: what of it was left out, or said nothing about the conversion.
        unchecked: why nothing was measured.
        asked: the TensorRT that was asked what it takes; empty: none is installed.
        refused: nodes that it does not take, each with its reason and what to do.
        left_out: operators of the source that the model ends before, with their number; empty: it is whole.
        composed: a sentence per operator of others that was written with ONNX's own.
        sha256: of the file; empty where it was not computed.
    """

    model: Path
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    opset: int
    nodes_before: int
    nodes_after: int
    transposes: int = 0
    checked: tuple[Comparison, ...] = ()
    draws: int = 0
    unjudged: tuple[str, ...] = ()
    unchecked: str = ""
    asked: str = ""
    refused: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    composed: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def digests(self) -> Mapping[Path, str]:
        """SHA-256 of files that need not be read again to know it."""
        return {self.model: self.sha256} if self.sha256 else {}


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
    from trtconv.graph import weights_aside

    with errors.about(request.origin or request.source.path), weights_aside.allowed():
        return _converted(request, emit)


def _converted(request: ConvertRequest, emit: Emit) -> ConvertResult:
    from trtconv.core import memory
    from trtconv.graph import check, clean, layout, model_io, reshape
    from trtconv.graph.input_uses import input_uses

    work = _from_source(request, emit)
    model = work.model
    memory.give_back()
    before = clean.op_counts(model)
    with _whose_fault(request, work):
        reshape.name_dims(model)
        if request.clean:
            clean.clean(model, [name for name in clean.PASSES if name not in request.passes])
        else:
            check.infer_shapes(model)
        check.validate(model)
    after = clean.op_counts(model)
    emit(Message(_cleaned(before, after)))
    reshape.name_dims(model)
    model.producer_name, model.producer_version = "trtconv", __version__
    transposes = layout.count(model)
    if transposes:
        emit(Message(f"{transposes} transposes between channels first and last remain"))
    inputs, outputs = model_io.interface(model)
    _say_unknown_ranks(model, emit)
    random = next(check.random_nodes(model), None)
    work.unchecked = work.unchecked or (f"node {random!r} draws random numbers" if random else "")
    work.uses = input_uses(model) if work.uses is None else work.uses
    version = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    with unfinished.folder(_folder(request), f".{request.model.name}.") as scratch:
        made = scratch / request.model.name
        same = work.file if work.file is not None and model_io.is_in(model, work.file) else None
        sha256 = model_io.save(model, made) if same is None else _same(request, same, made)
        work.model = model = None  # ONNX Runtime reads the file: the weights need not be held twice
        memory.give_back()
        verdict = _checked(request, work, made, inputs, emit, same=same is not None)
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
        checked=tuple(verdict.worst.values()),
        draws=verdict.draws,
        unjudged=tuple(verdict.notes),
        unchecked=verdict.unchecked,
        asked=asked,
        refused=refused,
        left_out=work.left_out,
        composed=work.composed,
        sha256=sha256,
    )


@contextlib.contextmanager
def _whose_fault(request: ConvertRequest, work: Converted) -> Iterator[None]:
    """What does not fit in a model that a converter made is no fault of its source; of shapes asked for, perhaps."""
    try:
        yield
    except ConversionError as error:
        if work.own:
            raise
        asked = "first without the shapes asked for (--input); then " if request.inputs else ""
        raise ConversionError(
            f"{error.message}; the conversion made this, the source need not be at fault",
            hint=f"{asked}try another --opset, or end the model before it (convert.outputs), and please report it",
        ) from error


def _from_source(request: ConvertRequest, emit: Emit) -> Converted:
    from trtconv import sources
    from trtconv.sources.records import Wanted

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


def _say_unknown_ranks(model: Any, emit: Emit) -> None:
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            emit(Message(f"output {value.name!r} has no fixed number of dimensions", "warning"))


def _checked(
    request: ConvertRequest, work: Converted, made: Path, inputs: tuple[TensorInfo, ...], emit: Emit, *, same: bool
) -> Verdict:
    """Compare the file with its source; says why where that cannot be."""
    from trtconv.data.conversion_check import Verdict

    if request.check and same:
        emit(Message("the model is what it was, byte for byte"))
        return Verdict(unchecked=SAME)
    stored = _given(request, work, inputs) if request.check else None
    verdict = Verdict(unchecked="" if stored else work.unchecked)
    if not request.check:
        verdict.unchecked = work.unchecked or "not asked for"
    elif not verdict.unchecked:
        emit(Running("source and result on random inputs", 2 * request.check_seconds))
        verdict = _compared(request, work, made, inputs, stored)
        emit(Running(""))
    if verdict.unchecked:
        emit(Message(f"not compared with the source: {verdict.unchecked}", "warning" if request.check else "info"))
        return verdict
    for note in verdict.notes:
        emit(Message(note, "warning" if note.startswith("not compared") else "info"))
    verdict.require()
    worst = max((c.max_rel for c in verdict.worst.values()), default=0.0)
    why = f" ({work.precision.because})" if work.precision.because else ""
    what = f"outputs in {request.check_data}" if stored else f"the source on {verdict.draws} draws of inputs"
    emit(Message(f"compared with {what}: {len(verdict.worst)} outputs, largest relative difference {worst:.2g}{why}"))
    return verdict


SAME = "it is the source itself"


def _same(request: ConvertRequest, source: Path, made: Path) -> str:
    """Let a file hold what the source does; its SHA-256 where that was computed."""
    if not request.passing:
        return files.copy(source, made)
    made.symlink_to(source.absolute())
    return ""


def _given(request: ConvertRequest, work: Converted, inputs: tuple[TensorInfo, ...]) -> Observed | None:
    """Inputs and outputs that the user has already, from a run elsewhere; None: inputs only, or nothing.

    Raises:
        UsageError: they are not those of the model.
    """
    from trtconv.data import arrays, conversion_check

    if request.check_data is None:
        return None
    found = conversion_check.from_arrays(arrays.read_npz(request.check_data))
    if not found.rows or not found.rows[0].outputs:
        return None
    given = found.rows[0].inputs
    if not _fit(given, work, inputs):
        takes = ", ".join(f"in.{info.name} {list(info.shape)}" for info in inputs)
        has = ", ".join(f"in.{name} {list(array.shape)}" for name, array in given.items()) or "no inputs"
        raise UsageError(f"{request.check_data}: holds {has}; the model takes {takes}", hint="convert.check_data")
    return found


def _compared(
    request: ConvertRequest, work: Converted, made: Path, inputs: tuple[TensorInfo, ...], stored: Observed | None
) -> Verdict:
    from trtconv.data.conversion_check import Comparing, Verdict

    if request.unrun:
        return Verdict(unchecked=f"source and result on random inputs: {request.unrun}{_SAMPLES}")
    observed = stored or _observed(request, work, inputs)
    work.done()
    if observed.refused:
        return Verdict(unchecked=f"the source does not run on these inputs: {observed.refused}{_SAMPLES}")
    comparing = Comparing(
        made,
        first=work.first,
        outputs_first=request.source.channels_first,
        tolerance=request.tolerance,
        precision=work.precision,
    )
    return comparing.compare(observed, request.check_seconds)


_SAMPLES = "; convert.check_data (--check-data) compares on samples of your own"


def _observed(request: ConvertRequest, work: Converted, inputs: tuple[TensorInfo, ...]) -> Observed:
    """Inputs and the source's outputs on them."""
    import numpy as np

    from trtconv.data import arrays, conversion_check

    if request.check_data is None and work.sample is not None and work.sample.exists():
        with np.load(work.sample) as stored:
            observed = conversion_check.from_arrays(dict(stored))
        if observed.refused or (observed.rows and all(_fit(row.inputs, work, inputs) for row in observed.rows)):
            return observed
    keep = set(request.outputs)

    def run(given: Mapping[str, Any]) -> dict[str, Any]:
        last = {name: conversion_check.to_last(a) if name in work.first else a for name, a in given.items()}
        return {name: a for name, a in work.source().run(last).items() if not keep or name in keep}

    if request.check_data is None:
        observed = conversion_check.observe(run, inputs, work.uses or {}, request.check_seconds, work.precision.ranges)
    else:
        observed = conversion_check.observe_given(run, arrays.read_npz(request.check_data))
    return conversion_check.laid_out(observed, work.first)


def _fit(given: Any, work: Converted, inputs: tuple[TensorInfo, ...]) -> bool:
    """Whether stored inputs are those that the model takes now, by name and shape."""
    from trtconv.data import conversion_check

    if given.keys() != {info.name for info in inputs}:
        return False
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
