"""The 16-bit floating-point types: what they hold, and which inputs of which operators take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from trtconv.graph import types


@dataclass(frozen=True)
class Half:
    """A 16-bit floating-point type.

    Attributes:
        name: as ONNX writes it.
        element: its TensorProto.DataType.
        dtype: its numpy type.
        largest: its largest finite value.
        normal: its smallest normal value.
        integers: the largest n such that 0..n are all exact.
        opset: the first one whose operators take it throughout.
        limit: default of ``keep.limit``: magnitudes above it stay FP32.
        refused: operators that ONNX defines for it but TensorRT does not build.
    """

    name: str
    element: int
    dtype: Any
    largest: float
    normal: float
    integers: int
    opset: int
    limit: float
    refused: frozenset[str] = frozenset()

    @property
    def angle(self) -> float:
        """Largest argument of a sine that is rounded by less than 1/512."""
        return self.integers / 512

    @property
    def exponent(self) -> float:
        """Largest exponent whose exponential is moved by less than 1/32 when it is rounded."""
        return self.integers / 16

    @property
    def steep(self) -> float:
        """How far rounding may move results: four times the rounding of a result itself."""
        return 8.0 / self.integers


HALVES = {
    "fp16": Half(
        "float16",
        onnx.TensorProto.FLOAT16,
        np.float16,
        largest=65504.0,
        normal=2.0**-14,
        integers=2048,
        opset=13,
        limit=0.5 * 65504.0,
    ),
    "bf16": Half(
        "bfloat16",
        onnx.TensorProto.BFLOAT16,
        ml_dtypes.bfloat16,
        largest=255 * 2.0**120,
        normal=2.0**-126,
        integers=256,
        opset=22,
        limit=127 * 2.0**120,
        refused=frozenset({"HardSwish", "ConvTranspose", "Mish", "LpPool", "GlobalLpPool", "GRU"}),
    ),
}


def takes(node: Any, half: Half, version: int) -> list[bool]:
    """Which inputs of a node may be of a 16-bit type; those of unknown operators are not."""
    ins, _ = types.formals(node, version)
    admitted = types.allowed(node.op_type, node.domain, version)
    kind = f"tensor({half.name})"
    found = [kind in admitted.get(one.type_str, ()) and (node.op_type, one.name) != ("Resize", "roi") for one in ins]
    return found or [False] * len(node.input)
