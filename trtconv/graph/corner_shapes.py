"""The shapes of all tensors of a model for given shapes of its inputs, by inference: nothing runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from trtconv.graph import editing, fold

Shape = tuple[int, ...]


def at(model: Any, shapes: Mapping[str, Sequence[int]], values: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """Shapes of the tensors of the main graph, as far as they follow from those of the inputs.

    What is found holds for all data: inference follows shapes and the arithmetic on them, not the values of tensors.

    Args:
        model: ONNX.
        shapes: of all inputs.
        values: what inputs hold whose values decide shapes.
    """
    outline = editing.skeleton(model)
    del outline.graph.value_info[:]
    _set_inputs(outline.graph, shapes, values)
    for value in outline.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(outline, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return {}
    found = fold.known_dims(inferred.graph)
    sizes = {name: tuple(dim for dim in dims if isinstance(dim, int)) for name, dims in found.items()}
    return {name: known for name, known in sizes.items() if len(known) == len(found[name])}


def _set_inputs(graph: Any, shapes: Mapping[str, Sequence[int]], values: Mapping[str, Sequence[int]]) -> None:
    given = [value for value in graph.input if value.name not in values]
    for value in graph.input:
        if value.name in values:
            kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            array = np.array(values[value.name], kind).reshape(tuple(shapes[value.name]))
            graph.initializer.append(numpy_helper.from_array(array, value.name))
    del graph.input[:]
    for value in given:
        if value.name in shapes:
            kind = value.type.tensor_type.elem_type
            value = onnx.helper.make_tensor_value_info(value.name, kind, list(shapes[value.name]))
        graph.input.append(value)
