"""A TensorFlow Lite file becomes the ONNX model that is wanted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trtconv.core.errors import ConversionError
from trtconv.core.events import Emit, Message
from trtconv.core.records import InputSpec, Precision
from trtconv.graph import check, clean, layout, reshape
from trtconv.sources.records import Converted, Wanted
from trtconv.sources.tflite import file, quantization, repair
from trtconv.sources.tflite.model import open_model
from trtconv.sources.tflite.to_onnx import to_onnx

_QUANTIZED = "the model is quantized: its arithmetic becomes floating point; choose a precision to quantize it again"

_ROUNDS = "the source rounds to the steps of its quantization"


def convert(wanted: Wanted, emit: Emit) -> Converted:
    """The model with the shapes, layouts and outputs that are wanted; quantized arithmetic becomes floating point.

    Raises:
        SourceError: a damaged file.
        ConversionError: an operator that has no form in ONNX.
        MissingPackage: TensorFlow or tf2onnx is not installed.
    """
    emit(Message("importing TensorFlow"))
    lite = file.read(wanted.source.path)
    if lite.quantized:
        emit(Message(_QUANTIZED, "warning"))
    state = sorted({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"} & lite.ops.keys())
    if state:
        raise ConversionError(
            f"{wanted.source.path}: operators {', '.join(state)} keep state between calls, which ONNX has no way to",
            hint="export the model with its state as an input and an output",
        )
    with tempfile.TemporaryDirectory(prefix=".tflite-", dir=wanted.scratch) as folder:
        path = wanted.source.path
        if lite.unfit:
            path = Path(folder) / path.name
            path.write_bytes(repair.repaired(wanted.source.path))
        model = to_onnx(path, lite.tensors, wanted.opset, wanted.scratch, dequantize=lite.quantized)
    check.require_onnx(model)
    clean.prepare(model)
    if lite.quantized:
        quantization.finish_dequantizing(model)
    reshape.set_shapes(model, tuple(InputSpec(info.name, info.shape) for info in lite.inputs))
    layout.inputs_first(model, wanted.first)
    reshape.set_shapes(model, wanted.inputs)
    reshape.keep_outputs(model, wanted.outputs)
    reshape.remember_names(model, lite.tensors)
    return Converted(
        model=model, source=lambda: open_model(wanted.source), first=wanted.first, precision=_precision(lite)
    )


def _precision(lite: file.LiteModel) -> Precision:
    """How exactly TensorFlow Lite computes a model: its kernels clip results to the range of an activation, or a type.

    Which of several boxes of one score comes first is not defined there.
    """
    chooses = any(op.startswith("NON_MAX_SUPPRESSION") for op in lite.ops)
    if not lite.quantized:
        return Precision(chooses=chooses, cuts_off=True)
    return Precision(
        0.05,
        _ROUNDS,
        steps=lite.steps,
        ranges=lite.ranges,
        limits=lite.limits,
        saturates=True,
        chooses=chooses,
        cuts_off=True,
    )
