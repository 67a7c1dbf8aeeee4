"""Computing ahead of time what does not depend on the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.graph import editing

LARGEST = 64 << 20
"""Bytes of a result that is larger than what it is made from; above, the node stays."""

_KEPT = {
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "Dropout",
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
_P = onnx.TensorProto
_FOLDED_TYPES = {_P.FLOAT, _P.DOUBLE, _P.FLOAT16, _P.INT64, _P.INT32, _P.INT8, _P.UINT8, _P.BOOL}

Dims = tuple[int | str | None, ...]


def fold_constants(model: onnx.ModelProto) -> bool:
    """Replace nodes whose inputs are all constant, and Shape of known shapes, by initializers; True if any went."""
    graph = model.graph
    constants = editing.initializers(graph)
    dims = known_dims(graph)
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        results = None if outputs & set(node.output) else _results(node, model, constants, dims, types)
        if results is None:
            kept.append(node)
            continue
        for name, value in results.items():
            tensor = numpy_helper.from_array(value, name)
            constants[name] = tensor
            graph.initializer.append(tensor)
    changed = len(kept) < len(graph.node)
    editing.replace_nodes(graph, kept)
    return changed


def known_dims(graph: Any) -> dict[str, Dims]:
    """Dimensions of every tensor whose number of dimensions is known; None for one without size or name."""
    values = (
        value for value in (*graph.input, *graph.value_info, *graph.output) if value.type.tensor_type.HasField("shape")
    )
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
            for dim in value.type.tensor_type.shape.dim
        )
        for value in values
    }


def _results(
    node: Any, model: Any, constants: Mapping[str, Any], dims: Mapping[str, Dims], types: Mapping[str, int]
) -> dict[str, np.ndarray] | None:
    """What a node makes, by name; None when it cannot or should not be computed now."""
    if node.domain not in editing.ONNX_DOMAINS or node.op_type in _KEPT or editing.bodies(node):
        return None
    if node.op_type == "Shape":
        return _shape(node, dims)
    inputs = {name: constants[name] for name in node.input if name in constants}
    names = [name for name in node.output if name]
    if not all(name in inputs or not name for name in node.input) or not all(
        types.get(n) in _FOLDED_TYPES for n in names
    ):
        return None
    if _bytes(node, dims, types) > max(LARGEST, *map(editing.size, inputs.values()), 0):
        return None
    return _run(node, model, inputs, names, types)


def _shape(node: Any, dims: Mapping[str, Dims]) -> dict[str, np.ndarray] | None:
    known = dims.get(node.input[0])
    if known is None:
        return None
    part = known[editing.attribute(node, "start", 0) : editing.attribute(node, "end", None)]
    if not all(isinstance(dim, int) for dim in part):
        return None
    return {node.output[0]: np.array(part, np.int64)}


def _bytes(node: Any, dims: Mapping[str, Dims], types: Mapping[str, int]) -> int:
    """Size of a node's outputs; more than LARGEST when it is not known before computing them."""
    total = 0
    for name in filter(None, node.output):
        sizes = [dim for dim in dims.get(name, (None,)) if isinstance(dim, int)]
        if len(sizes) != len(dims.get(name, (None,))):
            return LARGEST + 1
        total += int(np.prod(sizes, dtype=np.int64)) * helper.tensor_dtype_to_np_dtype(types[name]).itemsize
    return total


def _run(
    node: Any, model: Any, inputs: Mapping[str, Any], names: list[str], types: Mapping[str, int]
) -> dict[str, np.ndarray] | None:
    """The results by name; None when they disagree with type inference."""
    values = compute(node, model, {name: editing.array(tensor) for name, tensor in inputs.items()})
    if values is None:
        return None
    results = dict(zip(names, values, strict=True))
    agreed = all(helper.np_dtype_to_tensor_dtype(value.dtype) == types[name] for name, value in results.items())
    return results if agreed else None


def compute(node: Any, model: Any, feeds: Mapping[str, Any]) -> list[np.ndarray] | None:
    """Run one node in ONNX's reference implementation; None when it has none, or fails."""
    from onnx.reference import ReferenceEvaluator

    made = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    given = [helper.make_empty_tensor_value_info(name) for name in feeds]
    single = helper.make_model(helper.make_graph([node], "fold", given, made), opset_imports=model.opset_import)
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(value) for value in ReferenceEvaluator(single).run(None, dict(feeds))]
    except Exception:  # noqa: BLE001 - whatever the reference cannot do stays a node
        return None
