"""A model's interface: shapes of its inputs, names of its dimensions, which outputs it keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import onnx

from trtconv.core.errors import SourceError, UsageError
from trtconv.core.names import choice
from trtconv.core.records import Dim, InputSpec
from trtconv.graph import check, editing

NAMES_KEY = "trtconv.source_tensors"
"""Metadata: JSON object, public name -> tensor of the source."""


def set_shapes(model: onnx.ModelProto, specs: Iterable[InputSpec]) -> None:
    """Give inputs the shapes asked for, in place; what was inferred from the old ones is forgotten.

    Raises:
        UsageError: an unknown input, or another number of dimensions.
    """
    table = {value.name: value for value in model.graph.input}
    for spec in specs:
        if spec.name not in table:
            raise UsageError(
                f"inputs: the model has no input {spec.name!r}; it has {', '.join(table)}",
                hint=choice(spec.name, table),
            )
        if spec.shape is not None:
            _set_shape(table[spec.name], spec.shape)
            del model.graph.value_info[:]


def _set_shape(value: Any, dims: tuple[Dim, ...]) -> None:
    tensor = value.type.tensor_type
    if tensor.HasField("shape") and len(tensor.shape.dim) != len(dims):
        raise UsageError(
            f"inputs.{value.name}.shape: {list(dims)} has {len(dims)} dimensions, the model's input has "
            f"{len(tensor.shape.dim)}",
            hint="give the full shape, batch included",
        )
    del tensor.shape.dim[:]
    for dim in dims:
        if isinstance(dim, str):
            tensor.shape.dim.add(dim_param=dim)
        elif dim >= 0:
            tensor.shape.dim.add(dim_value=dim)
        else:
            tensor.shape.dim.add()


def name_dims(model: onnx.ModelProto) -> None:
    """Name what has neither size nor name, in place: ``batch`` for an input's first dimension, ``<tensor>_dim<axis>``.

    Raises:
        SourceError: an input without a number of dimensions.
    """
    for value in model.graph.input:
        if not value.type.tensor_type.HasField("shape"):
            raise SourceError(
                f"input {value.name!r} has no fixed number of dimensions",
                hint=f"say them: inputs: {{{value.name}: {{shape: [batch, ...]}}}}",
            )
        _name(value, "batch")
    for value in model.graph.output:
        _name(value, f"{value.name}_dim0")


def _name(value: Any, first: str) -> None:
    for axis, dim in enumerate(value.type.tensor_type.shape.dim):
        unnamed = not dim.HasField("dim_value") and not dim.dim_param
        if unnamed or dim.dim_param.startswith("unk__") or (dim.HasField("dim_value") and dim.dim_value < 0):
            dim.dim_param = first if axis == 0 else f"{value.name}_dim{axis}"


def keep_outputs(model: onnx.ModelProto, names: Iterable[str]) -> None:
    """Keep these outputs only, in place; any tensor inside the graph can become one. All when no name is given.

    Raises:
        SourceError: no such tensor.
    """
    wanted = list(names)
    if not wanted:
        return
    outputs = {value.name: value for value in model.graph.output}
    if not outputs.keys() >= set(wanted):
        check.infer_shapes(model)
        outputs |= {value.name: value for value in model.graph.value_info}
    chosen = []
    for name in wanted:
        if name not in outputs:
            valid = dict.fromkeys([*outputs, *editing.producers(model.graph)])
            raise SourceError(
                f"no output or tensor {name!r}; the outputs are "
                f"{', '.join(value.name for value in model.graph.output)}",
                hint=choice(name, valid),
            )
        chosen.append(onnx.ValueInfoProto.FromString(outputs[name].SerializeToString()))
    del model.graph.output[:]
    model.graph.output.extend(chosen)


def remember_names(model: onnx.ModelProto, tensors: Mapping[str, str]) -> None:
    """Store which tensor of the source each public name stands for."""
    onnx.helper.set_model_props(model, {NAMES_KEY: json.dumps(dict(tensors), sort_keys=True)})
