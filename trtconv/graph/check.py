"""Is a model whole: real operators only, valid, with types and shapes that follow from its inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from typing import Any

import onnx

from trtconv.core.errors import ConversionError
from trtconv.core.names import did_you_mean
from trtconv.graph import editing, fold

_STANDARD = (*editing.ONNX_DOMAINS, "ai.onnx.ml")


def foreign_nodes(model: onnx.ModelProto) -> Iterator[tuple[Any, str]]:
    """Every node whose operator is not one of ONNX at the model's opset, with the reason.

    Operators of other domains (plugins) count as foreign unless the model brings their function.
    """
    versions = {item.domain: item.version for item in model.opset_import}
    own = {(function.domain, function.name) for function in model.functions}
    for _, node in editing.walk(model.graph):
        if (node.domain, node.op_type) in own:
            continue
        domain = "" if node.domain in editing.ONNX_DOMAINS else node.domain
        if domain not in _STANDARD:
            yield node, f"belongs to {domain}, not to ONNX"
            continue
        version = versions.get(domain, versions.get("ai.onnx", 1) if not domain else 1)
        try:
            schema = onnx.defs.get_schema(node.op_type, version, domain)
        except onnx.defs.SchemaError:
            yield node, _unknown(node.op_type, domain, version)
            continue
        if schema.deprecated:
            yield node, f"is no longer part of ONNX at opset {version}"


def mistaken(model: onnx.ModelProto, plugged: Collection[str] = ()) -> dict[str, str]:
    """Nodes that TensorRT would take for something else, with the reason, by what errors call them.

    Its parser looks at an operator's name and not at its domain: ``my.domain::Relu`` is ONNX's Relu to it.

    Args:
        model: any.
        plugged: operators that a plugin is there for, and that TensorRT looks for a plugin for.
    """
    foreign = (node for node, _ in foreign_nodes(model) if node.domain not in _STANDARD)
    return {
        editing.label(node): f"TensorRT would take {node.domain}::{node.op_type} for ONNX's own {node.op_type}"
        for node in foreign
        if onnx.defs.has(node.op_type) and node.op_type not in plugged
    }


def _unknown(op: str, domain: str, version: int) -> str:
    if onnx.defs.has(op, domain):
        since = min(s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op)
        return f"exists in ONNX from opset {since} on, the model has opset {version}"
    return "is not an ONNX operator"


def require_onnx(model: onnx.ModelProto, *, plugins: bool = False) -> None:
    """Fail on the first node that no ONNX runtime can know.

    Args:
        model: any.
        plugins: let operators of other domains pass; TensorRT may have a plugin for them.

    Raises:
        ConversionError: it names operator, node and what to do.
    """
    foreign = [(node, why) for node, why in foreign_nodes(model) if not plugins or node.domain in _STANDARD]
    if not foreign:
        return
    node, why = foreign[0]
    others = sorted({other.op_type for other, _ in foreign} - {node.op_type})
    also = f"; the same holds for {', '.join(others)}" if others else ""
    raise ConversionError(
        f"node {editing.label(node)!r}: operator {node.op_type} {why}{also}",
        hint=_remedy(node.op_type, why, suggest=plugins),
    )


_REMEDIES = {
    **dict.fromkeys(
        ("PyFunc", "EagerPyFunc", "PyFuncStateless"),
        "it calls Python code that is not part of the model: write it with TensorFlow's own operators",
    ),
    **dict.fromkeys(("Case", "StatelessCase"), "write tf.case or tf.cond in the place of tf.switch_case"),
}


def require_tensors(model: onnx.ModelProto) -> None:
    """Fail on an input that is a sequence, an optional or a map, or holds strings.

    Raises:
        ConversionError: it names the input, and operator and node that read it.
    """
    for value in model.graph.input:
        kind = value.type.WhichOneof("value") or ""
        strings = value.type.tensor_type.elem_type == onnx.TensorProto.STRING
        if kind in ("tensor_type", "") and not strings:
            continue
        reader = next((node for node in model.graph.node if value.name in editing.reads(node)), None)
        where = f" of node {editing.label(reader)!r} ({reader.op_type})" if reader else ""
        if strings:
            raise ConversionError(
                f"input {value.name!r}{where} takes strings, which TensorRT cannot",
                hint="export the part of the model after its text processing",
            )
        raise ConversionError(
            f"input {value.name!r}{where} is of type {kind.removesuffix('_type')}",
            hint="export the model with a tensor in its place: TensorRT takes tensors",
        )


def require_whole(model: onnx.ModelProto) -> None:
    """Fail on a model that computes nothing, or from something that nobody gives.

    Raises:
        ConversionError: it names the tensor that is missing, and the node that reads it.
    """
    graph = model.graph
    if not graph.output:
        raise ConversionError("the model has no outputs", hint="export it again with its outputs declared")
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    missing = [name for name in editing.captured(graph) if name not in sparse]
    if not missing:
        return
    name = missing[0]
    reader = next((node for node in graph.node if name in editing.reads(node)), None)
    where = f"node {editing.label(reader)!r} ({reader.op_type}) reads it" if reader else "it is an output"
    raise ConversionError(
        f"tensor {name!r} is neither an input, nor a constant, nor made by a node; {where}",
        hint="the ONNX file is damaged: export it again",
    )


def _remedy(op: str, why: str, *, suggest: bool) -> str:
    """What to do; names of a converter's source are no misspelt names of ONNX, so none is suggested for them."""
    if "from opset" in why:
        return "choose that opset with convert.opset (--opset)"
    if op in _REMEDIES:
        return _REMEDIES[op]
    near = suggest and did_you_mean(op, {schema.name for schema in onnx.defs.get_all_schemas()})
    if suggest and not near:
        return (
            "say what it computes, or that a plugin does (operators, docs/custom_layers.md), or end the model before "
            "it (convert.outputs)"
        )
    return near or "end the model before that node (convert.outputs), or replace the layer that makes it"


_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def random_nodes(model: onnx.ModelProto) -> Iterator[str]:
    """Names of the nodes that make other numbers every time."""
    return (editing.label(node) for _, node in editing.walk(model.graph) if node.op_type in _RANDOM)


def infer_shapes(model: onnx.ModelProto) -> None:
    """Compute type and shape of every tensor anew, in place; dimensions keep the names of the inputs' dimensions.

    Raises:
        ConversionError: types or shapes that contradict each other; it names the node.
    """
    light = editing.skeleton(model)
    del light.graph.value_info[:]
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    strict = not any(True for _ in foreign_nodes(model))
    try:
        inferred = onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=strict, data_prop=True)
    except Exception as error:
        raise ConversionError(
            f"types or shapes do not fit: {first_line(error)}",
            hint="check the shapes given for the inputs, or export it again",
        ) from error
    del model.graph.value_info[:]
    model.graph.value_info.extend(value for value in inferred.graph.value_info if _known(value))
    for value, new in zip(model.graph.output, inferred.graph.output, strict=True):
        if _known(new):
            value.type.CopyFrom(new.type)
    for value in (*model.graph.value_info, *model.graph.output):
        _forget_made_up_names(value)


def _known(value: Any) -> bool:
    return bool(value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"))


def _forget_made_up_names(value: Any) -> None:
    """``unk__7`` says no more than no name, and would be read as equal to another ``unk__7``."""
    for dim in value.type.tensor_type.shape.dim:
        if dim.dim_param.startswith("unk__"):
            dim.ClearField("dim_param")


def validate(model: onnx.ModelProto) -> None:
    """Run ONNX's own checker on a model with inferred shapes, and one check that it lacks.

    Raises:
        ConversionError: what was found.
    """
    _refuse_impossible_reshapes(model)
    light = editing.skeleton(model)
    for value in light.graph.output:
        value.type.tensor_type.shape.SetInParent()  # ONNX's format may leave it out, and its checker does not know that
    try:
        onnx.checker.check_model(light, full_check=False)
    except Exception as error:
        raise ConversionError(f"not a valid ONNX model: {first_line(error)}", hint="export the model again") from error


def _refuse_impossible_reshapes(model: onnx.ModelProto) -> None:
    """Shape inference believes a constant target even when the number of elements differs."""
    dims = fold.known_dims(model.graph)
    for node in model.graph.node:
        if node.op_type != "Reshape" or not {node.input[0], node.output[0]} <= dims.keys():
            continue
        before, after = dims[node.input[0]], dims[node.output[0]]
        if _names(before) == _names(after) is not None and _product(before) != _product(after):
            raise ConversionError(
                f"node {editing.label(node)!r}: Reshape of {list(before)} to {list(after)} changes"
                " the number of elements",
                hint="check the shapes given for the inputs",
            )


def _names(dims: fold.Dims) -> list[str] | None:
    """The dynamic dimensions, sorted; None when one of them has no name."""
    return None if None in dims else sorted(dim for dim in dims if isinstance(dim, str))


def _product(dims: fold.Dims) -> int:
    return math.prod(dim for dim in dims if isinstance(dim, int))


def first_line(error: Exception) -> str:
    """The first line that says something, without the place in ONNX's C++ code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^\S+\.(?:cc|h):\d+:?\s*", "", lines[0]) if lines else type(error).__name__
