"""Proof of an engine's precision: the type that every weighted operator of its typed ONNX computes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that hold nearly all weights and arithmetic of a network."""


def weighted_types(model: onnx.ModelProto, types: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Count weighted operators by the type they compute in.

    An operator between DequantizeLinear nodes computes in their quantized type (TensorRT fuses the pair); with
    quantized weights only, the type is called ``int8 weights``. Any other one computes in the type of its operands.

    Args:
        model: typed ONNX.
        types: element type (TensorProto.DataType) per tensor.

    Returns:
        Operator -> type -> count, such as ``{"Conv": {"int8": 2, "float16": 1}}``.
    """
    counts: dict[str, Counter[str]] = {}
    for graph in _graphs(model.graph):
        producers = {name: node for node in graph.node for name in node.output}
        for node in graph.node:
            if node.op_type in WEIGHTED:
                counts.setdefault(node.op_type, Counter())[_compute_type(node, producers, types)] += 1
    return {op: dict(sorted(counter.items())) for op, counter in sorted(counts.items())}


def holds(model: onnx.ModelProto, *names: str) -> bool:
    """Whether any Q/DQ pair of the model stores one of these types, such as ``float8e4m3fn`` or ``int4``."""
    wanted = {onnx.TensorProto.DataType.Value(name.upper()) for name in names}
    return any(t.data_type in wanted for graph in _graphs(model.graph) for t in graph.initializer)


def _compute_type(node: onnx.NodeProto, producers: Mapping[str, Any], types: Mapping[str, int]) -> str:
    activation, weight = (_quantized(name, producers, types) for name in node.input[:2])
    if activation and activation == weight:
        return activation
    if weight:
        return f"{weight} weights"
    return _name(types.get(node.input[0]) or types.get(node.input[1]))


def _quantized(name: str, producers: Mapping[str, Any], types: Mapping[str, int]) -> str:
    """The quantized type that a tensor was dequantized from; layout changes in between do not matter."""
    node = producers.get(name)
    while node is not None and node.op_type in ("Transpose", "Reshape", "Identity"):
        node = producers.get(node.input[0])
    if node is None or node.op_type != "DequantizeLinear":
        return ""
    return _name(types.get(node.input[0]))


def _name(kind: int | None) -> str:
    return str(onnx.TensorProto.DataType.Name(kind)).lower() if kind else "unknown"


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
