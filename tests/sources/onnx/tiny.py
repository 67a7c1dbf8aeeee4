"""The smallest ONNX model, for the conformance test."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import parser

TEXT = '<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 4] x) => (float[batch, 4] y) {y = Relu(x)}'


def onnx_file(folder: Path) -> Path:
    onnx.save(parser.parse_model(TEXT), folder / "model.onnx")
    return folder / "model.onnx"


MODELS = {"onnx": onnx_file}
