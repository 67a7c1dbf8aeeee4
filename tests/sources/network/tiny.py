"""A tiny script, for tests/sources/test_conformance.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCRIPT = """
import numpy as np
import tensorrt as trt

builder = trt.Builder(trt.Logger())
network = builder.create_network()
builder.max_batch_size = 2
x = network.add_input("x", trt.float32, (3, 4, 4))
convolution = network.add_convolution(x, 2, (3, 3), np.ones((2, 3, 3, 3), np.float32), np.zeros(2, np.float32))
network.mark_output(
    network.add_softmax(convolution.get_output(0)).get_output(0)
)
builder.build_cuda_engine(network)
"""


def script(folder: Path) -> Path:
    path = folder / "tiny.py"
    path.write_text(SCRIPT)
    return path


MODELS = {"network": script}
SPEC: dict[str, dict[str, Any]] = {"network": {"allow_code": True}}
