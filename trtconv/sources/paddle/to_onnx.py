"""Paddle programs to ONNX: cut where an operator cannot be had, converted elsewhere, completed by our own rules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import onnx

from trtconv.core.events import Emit, Message
from trtconv.core.records import Precision
from trtconv.graph import check, clean, editing, layout, reshape
from trtconv.sources.paddle import cutting, files, lowering, network, reference, rules
from trtconv.sources.paddle.converters import Converter, NewConverter, OldConverter
from trtconv.sources.paddle.cutting import Cut
from trtconv.sources.paddle.network import Network
from trtconv.sources.paddle.padding import Padding
from trtconv.sources.paddle.parameters import Tensor
from trtconv.sources.paddle.program import Operator, Program
from trtconv.sources.records import Converted, Wanted


def to_onnx(wanted: Wanted, emit: Emit) -> Converted:
    """Convert a model.

    Raises:
        SourceError: damaged or foreign files; no such output.
        ConversionError: nothing is left without operators that cannot be had, or the converter failed.
        MissingPackage: the converter is not installed.
        EnvironmentProblem: the interpreter for Paddle 3 is not there, or lacks a package.
    """
    spec = wanted.source
    found = network.read(files.find(spec.path, spec.weights))
    outputs = wanted.outputs or _own_outputs(found, emit)
    cutting.require_outputs(found.program, outputs)
    unchecked = reference.absent(spec.python)
    weights = found.tensors()
    if any(tensor.half for tensor in weights.values()):
        emit(Message("its weights are in half precision: they are brought to FP32"))
    made: Converter = (
        OldConverter(found, weights, wanted.scratch, emit)
        if found.document is None
        else NewConverter(found, weights, wanted.scratch, emit, spec.python)
    )
    with made as converter:
        work = _Work(found, weights, converter, wanted, emit)
        model, cut = work.done(cutting.cut(found.program, outputs))
    shown = _Reference(found, cut.outputs, spec.python, work.padded)
    return Converted(
        model,
        shown.open,
        first=wanted.first,
        unchecked=unchecked,
        precision=Precision(chooses=bool(work.padded)),
        left_out=cut.left,
        done=shown.close,
    )


class _Reference:
    """Paddle with the model, started when it is first asked for."""

    def __init__(
        self, found: Network, outputs: tuple[str, ...], python: Path | None, padded: Mapping[str, Padding]
    ) -> None:
        self._made = partial(reference.PaddleModel, found, outputs, python, padded)
        self._model: reference.PaddleModel | None = None

    def open(self) -> reference.PaddleModel:
        """The model that runs."""
        self._model = self._model or self._made()
        return self._model

    def close(self) -> None:
        """Its memory goes."""
        if self._model is not None:
            self._model.close()
            self._model = None


def _own_outputs(found: Network, emit: Emit) -> tuple[str, ...]:
    """What a program gives, but for inputs that it hands on as they are: ONNX has no output of an input's name."""
    feeds, fetches = found.program.feeds(), found.program.fetches()
    for name in filter(feeds.__contains__, fetches):
        emit(Message(f"output {name!r} is the input as it was: it is left out", "warning"))
    return tuple(name for name in dict.fromkeys(fetches) if name not in feeds)


class _Work:
    """One conversion.

    Attributes:
        padded: outputs with a fixed number of rows per image.
    """

    def __init__(
        self, found: Network, weights: Mapping[str, Tensor], converter: Converter, wanted: Wanted, emit: Emit
    ) -> None:
        self._network, self._weights, self._converter = found, weights, converter
        self._wanted, self._emit = wanted, emit
        self._refused: set[str] = set()
        self.padded: dict[str, Padding] = {}

    def done(self, asked: Program) -> tuple[onnx.ModelProto, Cut]:
        """The model and where it ends; where a rule refuses an operator, that is before it."""
        while True:
            part = self._converter.prepared(asked)
            cut = self._cut(part)
            if cut.left:
                part = cutting.cut(part, cut.outputs)
            try:
                return self._model(part), cut
            except rules.Refused as refused:
                self._emit(Message(f"{refused.message}: the model ends before it", "warning"))
                self._refused.add(refused.makes)

    def _takes(self, op: Operator) -> bool:
        if self._refused.intersection(op.makes()):
            return False
        return rules.has_rule(op) or self._converter.takes(op)

    def _cut(self, part: Program) -> Cut:
        cut = cutting.frontier(part, self._takes)
        if cut.left:
            more = f" and {cut.after} operators behind them" if cut.after else ""
            self._emit(
                Message(
                    f"the model is not whole: left out are {', '.join(cut.left)}{more}; its outputs are now "
                    f"{', '.join(cut.outputs)}",
                    "warning",
                )
            )
        return cut

    def _model(self, part: Program) -> onnx.ModelProto:
        plan = lowering.plan(part)
        count = len(part.main.operators) - len(part.feeds()) - len(part.fetches()) - len(plan.ruled)
        self._emit(Message(f"converting {count} operators of a {self._network.form()} with {self._converter.name}"))
        opset = lowering.OPSET if plan.ruled else self._wanted.opset
        model = lowering.empty(opset)
        if plan.rest is not None:
            model = self._converter.convert(plan.rest, opset)
        clean.prepare(model)
        editing.require_opset(model, opset)
        check.require_onnx(model)
        plain = [spec for spec in self._wanted.inputs if spec.name not in self._wanted.first]
        self.padded = lowering.finish(model, plan, self._network, self._weights, plain)
        self._raise_opset(model)
        layout.inputs_first(model, self._wanted.first)
        reshape.set_shapes(model, self._wanted.inputs)
        return model

    def _raise_opset(self, model: onnx.ModelProto) -> None:
        """To what is asked for; lower is not possible, and said."""
        was = editing.opset(model)
        editing.require_opset(model, self._wanted.opset)
        if was != editing.opset(model):
            clean.prepare(model)
        elif was > self._wanted.opset:
            self._emit(Message(f"the model needs opset {was}", "warning"))
