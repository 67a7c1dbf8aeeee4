"""convert: a frozen graph or an ONNX file becomes a checked, cleaned FP32 ONNX model with inferred shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
