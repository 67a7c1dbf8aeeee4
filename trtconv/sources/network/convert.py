"""A script becomes the ONNX model that is wanted: recorded in a process of its own, then brought into form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from trtconv.core import interpreter
from trtconv.core.errors import SourceError, UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.interpreter import Guest, Needs
from trtconv.core.records import SourceSpec
from trtconv.graph import check, clean, editing, layout, model_io, reshape
from trtconv.sources.network import describe, weights
from trtconv.sources.network.needs import NEEDS
from trtconv.sources.records import Converted, Wanted

_GUEST = "trtconv.sources.network.guest"
_TORCH = replace(NEEDS, packages={**NEEDS.packages, "torch": "torch==2.13.*"}, extra="torch")

NOT_COMPARED = (
    "the layers of a script have no framework but TensorRT itself, and what was recorded is the ONNX model; "
    "convert.check_data with the outputs of an engine (in.NAME and out.NAME) compares"
)


def needs(spec: SourceSpec) -> Needs:
    """What the interpreter must have for a script with these weights."""
    return _TORCH if spec.weights is not None and weights.of_torch(spec.weights) else NEEDS


def convert(wanted: Wanted, emit: Emit) -> Converted:
    """Run a script against the recorder, and give what it built the shapes, outputs and opset that are wanted.

    Raises:
        UsageError: code may not run.
        SourceError: the script fails, or builds no network.
        ConversionError: a plugin, a loop, an RNN: it names the layer and its line.
        EnvironmentProblem: the interpreter is missing, or lacks a package.
    """
    model = recorded(wanted.source, emit)[0]
    clean.prepare(model)
    check.require_onnx(model)
    check.require_whole(model)
    if wanted.opset != editing.opset(model):
        editing.require_opset(model, wanted.opset)
        clean.prepare(model)
    layout.inputs_first(model, wanted.first)
    reshape.set_shapes(model, wanted.inputs)
    reshape.keep_outputs(model, wanted.outputs)
    return Converted(model, _nobody, first=wanted.first, unchecked=NOT_COMPARED)


def _nobody() -> Any:
    raise NotImplementedError


def recorded(spec: SourceSpec, emit: Emit) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The network that a script builds, and what came with it: fields of ``worker.Recording``.

    Raises:
        UsageError: code may not run.
        SourceError: see ``convert``.
    """
    if not spec.path.is_file():
        raise SourceError(f"{spec.path}: no such file", hint="check source.path")
    if not spec.allow_code:
        raise UsageError(
            f"{spec.path}: a script is run as a program, with all that you may do yourself; nothing confines it",
            hint="read it, and if you trust it, add --allow-code",
        )
    describe.tree_of(spec.path)
    there = interpreter.find(spec.python, needs(spec))
    emit(Message(f"running {spec.path.name} in {there.path} with a recorder in place of TensorRT"))
    with Guest(there, _GUEST, needs(spec), emit) as guest:
        file = guest.folder / "network.onnx"
        told: dict[str, Any] = guest.call("record", {"model": file.absolute(), **_request(spec)})
        for level, text in told["notes"]:
            emit(Message(text, level))
        layers = sum(told["layers"].values())
        emit(Message(f"recorded {layers} layer{'s' if layers != 1 else ''}"))
        return model_io.load(file), told


def _request(spec: SourceSpec) -> dict[str, Any]:
    return {
        "script": Path(spec.path).absolute(),
        "weights": None if spec.weights is None else Path(spec.weights).absolute(),
        "implicit_batch": "auto" if spec.implicit_batch is None else str(spec.implicit_batch).lower(),
        "arguments": list(spec.arguments),
        "version": spec.api_version,
    }
