"""What the outputs of a fragment are: types and dimensions by ONNX's own inference; small constants too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from trtconv.core.records import Dim
from trtconv.sources.network.emit.site import INT64, OPSET, Known, Site

_FEW = 64
"""Elements up to which a constant is carried along: shapes, axes, scales."""


def conclude(site: Site, names: list[str], finals: list[str]) -> list[Known]:
    """Let a site's results have their final names, and say what is known of them.

    Raises:
        Refused: the nodes do not fit together.
    """
    _settle(site, names, finals)
    if not finals:
        return []
    inferred = _inferred(site, finals)
    values = _values(site, finals)
    found = []
    for value_info in inferred:
        kind = value_info.type.tensor_type
        dims = _dims(site, value_info) if kind.HasField("shape") else _unknown(site, value_info.name)
        value = values.get(value_info.name)
        found.append(Known(value_info.name, dims, kind.elem_type, bool(site.lead), value))
    return found


def _settle(site: Site, names: list[str], finals: list[str]) -> None:
    """Rename results; what is an input of the site or a result twice is copied."""
    made = {name for node in site.nodes for name in node.output}
    final = {}
    for name, out in zip(names, finals, strict=True):
        if name in site.constants and name not in final:
            site.constants[out] = site.constants.pop(name)
            final[name] = out
        elif name in made and name not in final:
            final[name] = out
        else:
            site.nodes.append(helper.make_node("Identity", [name], [out], f"{site.prefix}/Identity"))
    for node in site.nodes:
        for place in (node.input, node.output):
            for position, name in enumerate(place):
                place[position] = final.get(name, name)


def _inferred(site: Site, finals: list[str]) -> list[onnx.ValueInfoProto]:
    constants = [name for name in finals if name in site.constants]
    nodes = list(site.nodes)
    nodes += [helper.make_node("Identity", [name], [f"{name}/same"]) for name in constants]
    outputs = [f"{name}/same" if name in constants else name for name in finals]
    inputs, initializers = [], []
    for one in {one.name: one for one in site.ins if one is not None}.values():
        if one.value is not None:
            initializers.append(numpy_helper.from_array(one.value, one.name))
        else:
            inputs.append(helper.make_tensor_value_info(one.name, one.dtype, list(one.dims)))
    for name, array in site.constants.items():
        if array.size <= _FEW:
            initializers.append(numpy_helper.from_array(array, name))
        else:
            dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, dtype, array.shape))
    graph = helper.make_graph(
        nodes, "layer", inputs, [helper.make_empty_tensor_value_info(name) for name in outputs], initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    try:
        done = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as error:
        raise site.refused(f"its inputs do not fit it: {_reason(error)}") from None
    found = {value.name: value for value in done.graph.output}
    for name, out in zip(finals, outputs, strict=True):
        found[out].name = name
    return [found[out] for out in outputs]


def _reason(error: Exception) -> str:
    """The last line of what ONNX says, without its own places."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition("[ShapeInferenceError]")[2].strip(" :") or lines[-1].strip() if lines else "no reason"


def _dims(site: Site, value: onnx.ValueInfoProto) -> tuple[Dim | None, ...]:
    sizes: list[Dim | None] = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in value.type.tensor_type.shape.dim
    ]
    if site.lead and sizes:
        sizes[0] = site.batch
    return tuple(sizes)


def _unknown(site: Site, name: str) -> tuple[Dim | None, ...]:
    """Dimensions of a Reshape, Expand or Fill by a shape that is computed: as many as that shape has elements."""
    node = next(node for node in site.nodes if name in node.output)
    shape = next((one for one in site.ins if one is not None and one.name == node.input[-1]), None)
    if node.op_type in ("Cast", "Transpose") and node.input[0] != name:
        return _unknown(site, node.input[0])
    count = shape.dims[0] if shape is not None and shape.rank == 1 else _length(site, node.input[-1])
    if not isinstance(count, int):
        raise site.refused("the number of its dimensions does not follow from the network")
    return (None,) * count


def _length(site: Site, name: str) -> Dim | None:
    """Elements of a one-dimensional tensor that a site casts or joins from its inputs."""
    for one in site.ins:
        if one is not None and one.name == name:
            return one.dims[0] if one.rank == 1 else None
    if name in site.constants:
        return len(site.constants[name])
    node = next((node for node in site.nodes if name in node.output), None)
    if node is None or node.op_type not in ("Cast", "Concat", "Identity"):
        return None
    total = 0
    for part in node.input:
        length = _length(site, part)
        if not isinstance(length, int):
            return None
        total += length
    return total


def _values(site: Site, finals: list[str]) -> dict[str, np.ndarray]:
    """Contents of results that follow from constants alone, where they are few."""
    direct = {name: site.constants[name] for name in finals if name in site.constants}
    few = {name: array for name, array in direct.items() if array.size <= _FEW}
    if len(direct) == len(finals) or not site.nodes:
        return few
    shape = site.layer.kind_name == "shape"
    if shape and all(isinstance(dim, int) for dim in site.known().dims):
        array = np.asarray(site.known().dims, np.int64)
        return few | {finals[0]: array if site.shape_type == INT64 else array.astype(np.int32)}
    if not site.ins or any(one is not None and one.value is None for one in site.ins):
        return few
    if any(array.size > _FEW for array in site.constants.values()):
        return few
    return few | {name: value for name, value in _computed(site, finals).items() if value.size <= _FEW}


def _computed(site: Site, finals: list[str]) -> dict[str, np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    arrays: dict[str, Any] = dict(site.constants) | {one.name: one.value for one in site.ins if one is not None}
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    wanted = [name for name in finals if name not in site.constants]
    outputs = [helper.make_empty_tensor_value_info(name) for name in wanted]
    graph = helper.make_graph(site.nodes, "layer", [], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    results = ReferenceEvaluator(model).run(None, {})
    types = {"f": np.float32}
    return {
        name: np.asarray(array, types.get(np.asarray(array).dtype.kind))
        for name, array in zip(wanted, results, strict=True)
    }
