"""Conversion of Paddle 3's programs, in the interpreter that has Paddle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trtconv.core.interpreter import Guest, Needs
from trtconv.sources.paddle.program import Operator

PADDLE = ("paddlepaddle", "paddlepaddle-gpu")
"""Distributions of Paddle."""

RUNS = Needs("Paddle", {"paddle": "paddlepaddle==3.2.2"})
"""To run a program."""

CONVERTS = Needs(
    "Paddle", {"paddle": "paddlepaddle==3.2.2", "paddle2onnx": "paddle2onnx==2.1.0", "packaging": "packaging"}
)
"""To convert one: paddle2onnx 2 imports ``packaging`` without asking pip for it."""

OPSETS = range(7, 22)

MODULE = "trtconv.sources.paddle.executor"

_NAMES: Mapping[str, str] = {
    "matmul": "matmul_v2",
    "batch_norm_": "batch_norm",
    "topk": "top_k_v2",
    "repeat_interleave_with_tensor_index": "repeat_interleave",
    "expand": "expand_v2",
    "assign_value_": "assign_value",
    "flatten": "flatten_contiguous_range",
    "unsqueeze": "unsqueeze2",
    "arange": "range",
    "argmax": "arg_max",
    "argmin": "arg_min",
    "floor_divide": "elementwise_floordiv",
    "subtract": "elementwise_sub",
    "multiply": "elementwise_mul",
    "divide": "elementwise_div",
    "remainder": "elementwise_mod",
    "minimum": "elementwise_min",
    "maximum": "elementwise_max",
    "min": "reduce_min",
    "max": "reduce_max",
    "mean": "reduce_mean",
    "sum": "reduce_sum",
    "prod": "reduce_prod",
    "any": "reduce_any",
    "all": "reduce_all",
    "numel": "size",
    "hardswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
    "add": "elementwise_add",
    "add_n": "sum",
    "grid_sample": "grid_sampler",
    "nonzero": "where_index",
}
"""What paddle2onnx 2.1 calls an operator of PIR in its list of those that it converts."""

_BODIES = ("if", "while")
"""Operators with programs inside, which it lists and does not convert."""


def registered(op: Operator) -> str:
    """The name of an operator in paddle2onnx's list."""
    return _NAMES.get(op.type, op.type)


def supported(guest: Guest) -> frozenset[str]:
    """Operators that it converts, by ``registered``."""
    return frozenset(guest.call("operators", {})["names"]).difference(_BODIES)


def export(guest: Guest, program: Path, weights: Path, model: Path, opset: int) -> int:
    """Convert a program; bytes written."""
    request = {"program": program, "weights": weights, "model": model, "opset": opset}
    return int(guest.call("export", request)["bytes"])
