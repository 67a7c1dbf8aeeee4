"""Is a model plain FP32? Only such a model can be lowered; one that is typed already would be lowered twice."""

from __future__ import annotations

from typing import Any

import onnx

from trtconv.core.errors import ConversionError
from trtconv.graph import editing, types

_P = onnx.TensorProto
_QUANTIZED_OPS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "ConvInteger",
        "QLinearMatMul",
        "MatMulInteger",
    }
)
_REDUCED = frozenset({_P.FLOAT16, _P.BFLOAT16, _P.FLOAT8E4M3FN, _P.FLOAT8E4M3FNUZ, _P.FLOAT8E5M2, _P.FLOAT8E5M2FNUZ})


def require(model: Any, source: str) -> None:
    """Refuse a model that is quantized or half already.

    Raises:
        ConversionError: naming a node or tensor that tells.
    """
    hint = "build it as it is: precision: typed"
    for _, node in editing.walk(model.graph):
        if node.op_type in _QUANTIZED_OPS:
            raise ConversionError(
                f"{source}: the model is quantized already: node {editing.label(node)!r} is a {node.op_type}", hint=hint
            )
    for graph in editing.graphs(model.graph):
        for name, kind in _types(model, graph):
            if kind in _REDUCED:
                raise ConversionError(
                    f"{source}: the model is typed already: {name!r} is {types.name_of(kind)}", hint=hint
                )


def _types(model: Any, graph: Any) -> list[tuple[str, int]]:
    """Types of a graph's own tensors, as far as they follow from the graph alone."""
    return list(types.visit_graph(graph, None, editing.opset(model), check_nodes=False).items())
