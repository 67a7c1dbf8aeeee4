"""What a network of PyTorch needs in the interpreter that runs it."""

from __future__ import annotations

from trtconv.core.interpreter import Needs

NEEDS = Needs(
    framework="PyTorch",
    packages={
        "torch": "torch==2.13.*",
        "onnxscript": "onnxscript==0.7.*",
        "onnx": "onnx>=1.22,<1.24",
        "numpy": "numpy>=1.26,<3",
    },
    optional={"safetensors": "safetensors>=0.4,<1"},
    extra="torch",
    python=(3, 10),
)
