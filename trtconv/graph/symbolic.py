"""Shape vectors that a graph computes from its inputs' dimensions: ``[batch, 256]`` instead of six nodes.

Frameworks read a tensor's shape, pick and join its parts, and hand the result to Reshape. Those operators only move
numbers, so they are run once with a code in place of each dynamic dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from trtconv.graph import editing, fold

_MOVERS = {"Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Cast", "Identity"}
_FIRST_CODE = -(1 << 20)
"""Codes count down from here: no dimension is negative, and float32 holds them exactly."""
_LONGEST = 64

Vector = list[int | str]


def simplify_reshapes(model: onnx.ModelProto) -> bool:
    """Give every Reshape whose target follows from its input a constant target, in place.

    A dimension that stays is written as 0 (as in the input), so its name lives on in what is inferred; at most one
    other is -1.
    """
    graph = model.graph
    dims = fold.known_dims(graph)
    vectors = shape_vectors(model)
    names: editing.Names | None = None
    for node in graph.node:
        if node.op_type != "Reshape" or node.domain not in editing.ONNX_DOMAINS or node.input[0] not in dims:
            continue
        target = vectors.get(node.input[1])
        if target is None or editing.attribute(node, "allowzero", 0):
            continue
        constant = constant_target(target, dims[node.input[0]])
        if constant is not None and constant != target:
            names = names or editing.Names.of(model)
            node.input[1] = names.fresh(f"{node.output[0]}_target")  # a later round may know more of the same node
            graph.initializer.append(numpy_helper.from_array(np.array(constant, np.int64), node.input[1]))
    return names is not None


def constant_target(target: Vector, source: fold.Dims) -> list[int] | None:
    """The target of a Reshape without names: 0 where the input's dimension stays, -1 for at most one other.

    Args:
        target: sizes, names of dynamic dimensions, 0 (as in the input) and -1 (what remains).
        source: the input's dimensions.

    Returns:
        None when it cannot be written so.
    """
    result = [
        item if isinstance(item, int) else 0 if source[axis : axis + 1] == (item,) else -1
        for axis, item in enumerate(target)
    ]
    rest = [size for size in source[1:] if isinstance(size, int)]
    if len(rest) == len(source) - 1 and not isinstance(source[0], int):
        _resolve(result, int(np.prod(rest, dtype=np.int64)))
    return result if result.count(-1) <= 1 else None


def _resolve(target: list[int], rest: int) -> None:
    """Tell apart a -1 that stands for the first dimension and one that stands for the product of the others."""
    known = int(np.prod([size for size in target[1:] if size != -1], dtype=np.int64))
    if not target or known <= 0 or 0 in target[1:]:
        return
    if target[0] == -1 and -1 not in target[1:] and known == rest:
        target[0] = 0
    elif target[0] == 0 and target.count(-1) == 1 and rest % known == 0:
        target[target.index(-1)] = rest // known


def shape_vectors(model: onnx.ModelProto) -> dict[str, Vector]:
    """Every one-dimensional integer tensor whose items are constants or dimensions of the inputs, by name."""
    graph = model.graph
    dims = fold.known_dims(graph)
    codes: dict[str, int] = {}
    values = {
        tensor.name: editing.array(tensor)
        for tensor in graph.initializer
        if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
        and np.prod(tensor.dims, dtype=np.int64) <= _LONGEST
    }
    for node in graph.node:
        made = _moved(node, model, values, dims, codes)
        if made is not None and made.size <= _LONGEST:
            values[node.output[0]] = made
    names = {code: name for name, code in codes.items()}
    return {
        name: [names.get(int(item), int(item)) for item in array]
        for name, array in values.items()
        if array.ndim == 1 and array.dtype.kind == "i"
    }


def _moved(
    node: Any, model: Any, values: Mapping[str, Any], dims: Mapping[str, fold.Dims], codes: dict[str, int]
) -> Any:
    """What a node makes of coded dimensions; None unless it only moves numbers."""
    if node.domain not in editing.ONNX_DOMAINS:
        return None
    if node.op_type == "Shape" and node.input[0] in dims:
        known = dims[node.input[0]][editing.attribute(node, "start", 0) : editing.attribute(node, "end", None)]
        if None in known:
            return None
        coded = [codes.setdefault(d, _FIRST_CODE - len(codes)) if isinstance(d, str) else d for d in known]
        return np.array(coded, np.int64)
    if node.op_type not in _MOVERS or not all(name in values or not name for name in node.input):
        return None
    results = fold.compute(node, model, {name: values[name] for name in node.input if name})
    return None if results is None else results[0]
