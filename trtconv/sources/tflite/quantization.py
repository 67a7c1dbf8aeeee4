"""What tf2onnx leaves of a TensorFlow Lite model's quantization when it turns the arithmetic into floating point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.graph import editing


def finish_dequantizing(model: onnx.ModelProto) -> None:
    """Let floating-point values pass as they are, and integer outputs be made by plain arithmetic, in place.

    Dynamic-range models round what they multiply to the range of each single batch. TensorRT has no such operator, and
    rounding is what calibration is for. It has no zero points either, which integer outputs come with.
    """
    graph = model.graph
    _drop_dynamic_ranges(graph)
    constants, names = editing.initializers(graph), editing.Names.of(model)
    nodes: list[Any] = []
    for node in graph.node:
        offset = constants.get(node.input[2]) if node.op_type in _LINEAR and len(node.input) > 2 else None
        wide = offset is not None and offset.data_type in _WIDE
        if offset is None or len(offset.dims) > 0:
            nodes.append(node)
        elif node.op_type == "QuantizeLinear" and (wide or numpy_helper.to_array(offset).any()):
            nodes += _rounded(graph, node, offset, names)
        elif node.op_type == "DequantizeLinear" and wide:
            nodes += _scaled(graph, node, offset, names)
        else:
            nodes.append(node)
    editing.replace_nodes(graph, nodes)


_LINEAR = ("QuantizeLinear", "DequantizeLinear")
_WIDE = (onnx.TensorProto.INT16, onnx.TensorProto.UINT16)
"""Types that both take from opset 21 on only, and TensorRT never."""


def _drop_dynamic_ranges(graph: Any) -> None:
    """DequantizeLinear(DynamicQuantizeLinear(x)) is x, but for the rounding."""
    makers = editing.producers(graph)
    for node in graph.node:
        maker = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if maker is not None and maker.op_type == "DynamicQuantizeLinear":
            source = maker.input[0]
            node.op_type = "Identity"
            del node.input[:], node.attribute[:]
            node.input.append(source)


def _rounded(graph: Any, node: Any, offset: Any, names: editing.Names) -> Iterator[Any]:
    """QuantizeLinear as its definition says it: saturate(round(x / scale) + zero point)."""
    limits = np.iinfo(numpy_helper.to_array(offset).dtype)
    values = {"zero_point": numpy_helper.to_array(offset), "lowest": limits.min, "highest": limits.max}
    numbers = [names.fresh(f"{node.name}_{name}") for name in values]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in zip(numbers, values.values(), strict=True)
    )
    value = node.input[0]
    for op, others in (("Div", [node.input[1]]), ("Round", []), ("Add", numbers[:1]), ("Clip", numbers[1:])):
        made = names.fresh(f"{node.name}_{op.lower()}")
        yield helper.make_node(op, [value, *others], [made], made)
        value = made
    yield helper.make_node("Cast", [value], node.output, node.name, to=offset.data_type)


def _scaled(graph: Any, node: Any, offset: Any, names: editing.Names) -> Iterator[Any]:
    """DequantizeLinear as its definition says it: (x - zero point) * scale."""
    zero = names.fresh(f"{node.name}_zero_point")
    graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(offset).astype(np.float32), zero))
    number, moved = names.fresh(f"{node.name}_cast"), names.fresh(f"{node.name}_sub")
    yield helper.make_node("Cast", [node.input[0]], [number], number, to=onnx.TensorProto.FLOAT)
    yield helper.make_node("Sub", [number, zero], [moved], moved)
    yield helper.make_node("Mul", [moved, node.input[1]], node.output, node.name)
