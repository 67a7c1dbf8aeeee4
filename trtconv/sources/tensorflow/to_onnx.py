"""A frozen graph becomes an ONNX model, by tf2onnx."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from trtconv.adapters import tensorflow, tf2onnx
from trtconv.adapters.weight_placeholders import Held
from trtconv.core.errors import ConversionError
from trtconv.core.weights import large
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph

_BFLOAT16 = 14
"""TensorFlow's DT_BFLOAT16, which the converter takes for float16."""


def to_onnx(frozen: FrozenGraph, opset: int, scratch: Path, channels_first: Iterable[str] = ()) -> onnx.ModelProto:
    """Convert a frozen graph; inputs and outputs get their public names.

    Operators that the converter does not know are left in the model under their TensorFlow names: check it.

    Args:
        frozen: the graph.
        opset: of the model.
        scratch: folder with room for the weights.
        channels_first: inputs that the graph takes as NHWC and the model as NCHW.

    Raises:
        ConversionError: an opset out of range, an operator that would compute something else, or a failure inside.
        MissingPackage: tf2onnx is not installed.
    """
    tf2onnx.require_opset(opset)
    for node in frozen.graph.node:
        if any(value.type == _BFLOAT16 for value in node.attr.values()):
            raise ConversionError(
                f"node {node.name!r} ({node.op}): tf2onnx has no bfloat16",
                hint="export the model in float32, and choose precision: bf16",
            )
    inputs = [endpoint.tensor for endpoint in frozen.inputs]
    outputs = [endpoint.tensor for endpoint in frozen.outputs]
    last = [endpoint.tensor for endpoint in frozen.inputs if endpoint.name in set(channels_first)]
    with tf2onnx.repaired(), Held(scratch) as held:
        native = tensorflow.load()
        graph_def, tokens = _optimized(native, frozen, inputs, outputs, held)
        with native.Graph().as_default() as graph:
            native.import_graph_def(graph_def, name="")
        rename = {endpoint.tensor: endpoint.name for endpoint in (*frozen.inputs, *frozen.outputs)}
        return tf2onnx.convert(
            graph,
            opset,
            held,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=rename,
            const_node_values=tokens,
            inputs_as_nchw=last,
        )


def _optimized(
    native: Any, frozen: FrozenGraph, inputs: list[str], outputs: list[str], held: Held
) -> tuple[Any, dict[str, bytes]]:
    """TensorFlow's own optimization of the graph; large constants pass it as placeholders and come back empty.

    Returns:
        The graph, and the token of each of those constants.
    """
    from tf2onnx import tf_loader

    tokens, shapes = {}, {}
    light = type(frozen.graph)()
    light.CopyFrom(frozen.graph)
    for node in light.node:
        if node.op != "Const":
            continue
        tensor = node.attr["value"].tensor
        weight = frozen.weights.get(node.name) or large(tensor.tensor_content)
        if weight is not None:
            tokens[node.name] = held.refer(weight)
            shapes[node.name] = type(tensor.tensor_shape).FromString(tensor.tensor_shape.SerializeToString())
            _to_placeholder(node, tensor)
    with native.Graph().as_default():
        optimized = tf_loader.tf_optimize(inputs, outputs, light)
    for node in optimized.node:
        if node.name in tokens:
            _to_empty_constant(node, shapes[node.name])
    return optimized, tokens


def _to_placeholder(node: Any, tensor: Any) -> None:
    dtype, shape = tensor.dtype, tensor.tensor_shape
    node.op = "Placeholder"
    node.attr.clear()
    node.attr["dtype"].type = dtype
    node.attr["shape"].shape.CopyFrom(shape)


def _to_empty_constant(node: Any, shape: Any) -> None:
    dtype = node.attr["dtype"].type
    node.op = "Const"
    node.attr.clear()
    node.attr["dtype"].type = dtype
    node.attr["value"].tensor.dtype = dtype
    node.attr["value"].tensor.tensor_shape.CopyFrom(shape)
