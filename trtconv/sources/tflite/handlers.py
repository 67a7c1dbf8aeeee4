"""Operators of TensorFlow Lite that tf2onnx lacks, in its own form of an extension."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_CUBIC = 0.044715
"""Of the approximation by a hyperbolic tangent, from the paper that introduced the GELU (arXiv 1606.08415)."""


def gelu(graph: Any, node: Any, _name: str, _args: Any) -> None:
    """GELU: x (1 + g) / 2; g is erf(x / sqrt(2)), or its approximation tanh(sqrt(2 / pi) (x + 0.044715 x^3))."""
    from tf2onnx import utils

    x, result = node.input[0], node.output[0]
    dtype, shape = graph.get_dtype(result), graph.get_shape(result)
    approximate = node.get_attr_value("approximate", False)

    def number(value: float) -> str:
        array = np.array(value, utils.map_onnx_to_numpy_type(dtype))
        return str(graph.make_const(utils.make_name(node.name), array).output[0])

    def step(op: str, *inputs: str) -> str:
        made = graph.make_node(op, list(inputs), name=utils.make_name(node.name), shapes=[shape], dtypes=[dtype])
        return str(made.output[0])

    graph.remove_node(node.name)
    if approximate:
        cubic = step("Mul", step("Mul", step("Mul", x, x), x), number(_CUBIC))
        inner = step("Tanh", step("Mul", step("Add", x, cubic), number(math.sqrt(2 / math.pi))))
    else:
        inner = step("Erf", step("Mul", x, number(math.sqrt(0.5))))
    half = step("Mul", x, number(0.5))
    graph.make_node(
        "Mul", [half, step("Add", inner, number(1))], name=node.name, outputs=[result], shapes=[shape], dtypes=[dtype]
    )


HANDLERS: Mapping[str, Any] = {"TFL_GELU": (gelu, [])}
