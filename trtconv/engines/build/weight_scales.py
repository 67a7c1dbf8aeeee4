"""One scale for all of a matrix product's INT8 weights, written as a scale for each output channel.

TensorRT-RTX 1.5 rounds ``Relu(MatMul(DQ(q), DQ(w)))`` to whole numbers where ``w`` has one scale and the result stays
floating point (measured on an H100: errors up to 0.5); with the same scale for every channel it is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from trtconv.graph import editing

_PRODUCTS = ("MatMul", "Gemm")
_SINCE = 13  # opset in which a scale for each channel came


def spread(proto: onnx.ModelProto) -> bool:
    """Write such scales, in place; whether there were any."""
    if editing.opset(proto) < _SINCE:
        return False
    graph, changed = proto.graph, False
    stored = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in editing.reads(node):
            readers.setdefault(name, []).append(node)
    names = editing.Names.of(proto)
    for node in graph.node:
        axis = _axis(node, stored, readers)
        if axis is not None:
            changed = True
            _widen(graph, node, axis, stored, names)
    return changed


def _axis(node: Any, stored: dict[str, Any], readers: dict[str, list[Any]]) -> int | None:
    """The axis of the output channels of weights that have one scale; None for anything else."""
    if node.op_type != "DequantizeLinear" or any(name not in stored for name in filter(None, node.input)):
        return None
    weights, scale = (stored[name] for name in node.input[:2])
    if weights.data_type != onnx.TensorProto.INT8 or len(weights.dims) != 2 or np.prod(scale.dims, dtype=int) != 1:
        return None
    found = {_channels(reader, node.output[0]) for reader in readers.get(node.output[0], ())}
    return found.pop() if len(found) == 1 else None


def _channels(reader: Any, name: str) -> int | None:
    if reader.op_type not in _PRODUCTS or list(reader.input).index(name) != 1:
        return None
    return 0 if reader.op_type == "Gemm" and editing.attribute(reader, "transB", 0) else 1


def _widen(graph: Any, node: Any, axis: int, stored: dict[str, Any], names: editing.Names) -> None:
    count = stored[node.input[0]].dims[axis]
    for position, what in ((1, "scales"), (2, "zeros")):
        if position < len(node.input) and node.input[position]:
            value = numpy_helper.to_array(stored[node.input[position]]).reshape(1)
            name = names.fresh(f"{editing.label(node)}_{what}")
            graph.initializer.append(numpy_helper.from_array(np.repeat(value, count), name))
            node.input[position] = name
    kept = [attribute for attribute in node.attribute if attribute.name != "axis"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("axis", axis)])
