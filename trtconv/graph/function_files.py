"""Files that say what an operator computes: an ONNX function, or an ONNX model; binary or in ONNX's own syntax."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import defs, helper, parser

from trtconv.core.errors import ConversionError, SourceError, UsageError
from trtconv.graph import check, editing, model_io

_TEXT = b"<"
_FUNCTION = b"\x0a"
"""A FunctionProto begins with its name (field 1), a ModelProto with its IR version."""

_KINDS = onnx.AttributeProto


@dataclass(frozen=True)
class Written:
    """An operator written by others.

    Attributes:
        path: of its file.
        function: what it computes.
        helpers: functions of the same file that it may call.
        inputs: ValueInfoProto of its inputs where the file is a model: types that it takes.
    """

    path: Path
    function: Any
    helpers: tuple[Any, ...] = ()
    inputs: tuple[Any, ...] = ()

    @property
    def opset(self) -> int:
        """Version of the standard operators that it is written with."""
        return editing.opset(self.function)

    @property
    def uses(self) -> set[tuple[str, str]]:
        """(domain, operator) of all that it is written with, but for its helpers."""
        helpers = {(one.domain, one.name) for one in self.helpers}
        found = {(node.domain, node.op_type) for one in (self.function, *self.helpers) for _, node in editing.walk(one)}
        return {("" if domain in editing.ONNX_DOMAINS else domain, op) for domain, op in found - helpers}

    def piece(self, node: Any, types: Mapping[str, Any], constant: Callable[[str], Any], opset: int) -> Any:
        """A model that computes what one node does, of the opset that is wanted.

        Args:
            node: of this operator.
            types: TypeProto by name, as far as they are known.
            constant: values of a tensor; None for one that is no constant.
            opset: that of the function or later.

        Raises:
            ConversionError: the node and the function do not fit; it names both.
        """
        about = f"node {editing.label(node)!r} ({node.op_type}) and {self.path.name}"
        _require_arguments(self.function, node, about)
        _require_types(self.inputs, node, types, about)
        model = self._around(node, types, constant)
        try:
            model = editing.inline(model)
            _require_standard(model, about)
            model = _raised(model, opset)
            known = all(name in types for name in node.input if name)
            model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=known, data_prop=True)
            _settle_casts(model.graph)
            return model
        except ConversionError:
            raise
        except Exception as error:
            raise ConversionError(
                f"{about} do not fit: {check.first_line(error)}",
                hint="check the types and shapes that the file expects",
            ) from error

    def _around(self, node: Any, types: Mapping[str, Any], constant: Callable[[str], Any]) -> Any:
        """A model of the one node, with the functions that it calls."""
        given = list(dict.fromkeys(filter(None, node.input)))
        call = onnx.NodeProto()
        call.CopyFrom(node)
        call.domain, call.op_type = self.function.domain, self.function.name
        for position, name in enumerate(call.output):  # the inliner takes no output without a name
            call.output[position] = name or f"unread_{position}"
        graph = onnx.GraphProto(name="piece", node=[call])
        for name in given:
            values = constant(name)
            if values is not None and values.nbytes <= editing.SMALL:
                graph.initializer.append(onnx.numpy_helper.from_array(values, name))
                continue
            value = graph.input.add(name=name)
            if name in types:
                value.type.CopyFrom(types[name])
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name)
        model = onnx.ModelProto(ir_version=8, graph=graph, functions=[self.function, *self.helpers])
        imports = {item.domain: item.version for one in model.functions for item in one.opset_import}
        imports |= {one.domain: 1 for one in model.functions} | {"": self.opset}
        model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in imports.items())
        return model


def read(path: Path, key: tuple[str, str]) -> Written:
    """The function of an operator.

    Args:
        path: a model whose graph is the operator, or that holds functions; a function; either in ONNX's text syntax.
        key: (domain, operator): chooses among several functions.

    Raises:
        UsageError: none or several that could be meant.
        SourceError: neither a function nor a model.
    """
    found = _content(path)
    if isinstance(found, onnx.FunctionProto):
        return _private(path, found, ())
    own = [one for one in found.functions if (one.domain, one.name) == key]
    if not own and found.graph.node:
        return _of_graph(path, found, key)
    own = own or [one for one in found.functions if one.name == key[1]] or list(found.functions)
    if len(own) != 1:
        listed = ", ".join(f"{one.domain}::{one.name}" for one in found.functions) or "nothing"
        raise UsageError(
            f"{path}: which function is {key[0]}::{key[1]}? It holds {listed}", hint=f"name one of them {key[1]}"
        )
    return _private(path, own[0], [one for one in found.functions if one is not own[0]])


def _content(path: Path) -> Any:
    content = path.read_bytes() if path.is_file() else b""
    try:
        if content.lstrip()[:1] == _TEXT:
            text = content.decode()
            return parser.parse_model(text) if "ir_version" in text.partition(">")[0] else parser.parse_function(text)
        if content[:1] == _FUNCTION:
            return onnx.FunctionProto.FromString(content)
    except Exception as error:
        raise SourceError(
            f"{path}: no ONNX function: {' '.join(str(error).split())[:300]}", hint="docs/custom_layers.md has one"
        ) from error
    return model_io.load(path)


def _private(path: Path, function: Any, helpers: Iterable[Any]) -> Written:
    """A function and its helpers in a domain that no model has, so that nothing else is meant by their names."""
    domain = "trtconv.written"
    others = list(helpers)
    mine = {(one.domain, one.name) for one in others}
    for one in (function, *others):
        for _, node in editing.walk(one):
            if (node.domain, node.op_type) in mine:
                node.domain = domain
        if others:
            one.opset_import.add(domain=domain, version=1)
    for one in others:
        one.domain = domain
    copy = onnx.FunctionProto()
    copy.CopyFrom(function)
    copy.domain, copy.name = domain, f"of_{function.name}"
    return Written(path, copy, tuple(others))


def _of_graph(path: Path, model: Any, key: tuple[str, str]) -> Written:
    """A model as a function: its inputs, in order, are the operator's."""
    if model.functions:
        model.CopyFrom(editing.inline(model))
    graph = model.graph
    held = editing.initializers(graph)
    inputs = [value for value in graph.input if value.name not in held]
    function = onnx.FunctionProto(name=f"of_{key[1]}", domain="trtconv.written", opset_import=model.opset_import)
    function.input.extend(value.name for value in inputs)
    function.output.extend(value.name for value in graph.output)
    function.node.extend(helper.make_node("Constant", [], [name], value=tensor) for name, tensor in held.items())
    function.node.extend(graph.node)
    function.attribute.extend(sorted({item.ref_attr_name for item in _references(function)}))
    return Written(path, function, inputs=tuple(inputs))


def _references(function: Any) -> Iterator[Any]:
    """Attributes in a function's nodes that stand for one of the operator's."""
    return (item for _, node in editing.walk(function) for item in node.attribute if item.ref_attr_name)


def _require_arguments(function: Any, node: Any, about: str) -> None:
    """Fail where attributes or numbers of inputs and outputs differ.

    Raises:
        ConversionError: it names what is missing or too much.
    """
    for what, has, most in (("inputs", node.input, function.input), ("outputs", node.output, function.output)):
        if len(has) > len(most):
            raise ConversionError(
                f"{about}: {len(has)} {what}, and the function has {len(most)}: {', '.join(most)}",
                hint=f"write a function with {len(has)} {what}",
            )
    given = {item.name: item.type for item in node.attribute}
    optional = {item.name for item in function.attribute_proto}
    known = set(function.attribute) | optional
    if missing := sorted(set(function.attribute) - given.keys()):
        raise ConversionError(
            f"{about}: the node has no attribute {missing[0]!r}", hint="give it a default in the function"
        )
    if unread := sorted(given.keys() - known):
        raise ConversionError(
            f"{about}: the function has no attribute {unread[0]!r}; it has {', '.join(sorted(known)) or 'none'}",
            hint="declare it in the function; one that is declared and not used is ignored",
        )
    for item in _references(function):
        kind = given.get(item.ref_attr_name, item.type)
        if item.type not in (kind, _KINDS.UNDEFINED):
            wanted, found = (_KINDS.AttributeType.Name(each) for each in (item.type, kind))
            raise ConversionError(
                f"{about}: attribute {item.ref_attr_name!r} is {found}, and the function takes {wanted}",
                hint="change its type in the function",
            )
    _require_inputs(function, node, about)


def _require_inputs(function: Any, node: Any, about: str) -> None:
    """Fail where the node leaves out what the function cannot do without."""
    left_out = {
        name for position, name in enumerate(function.input) if position >= len(node.input) or not node.input[position]
    }
    for _, inner in editing.walk(function):
        for position, name in enumerate(inner.input):
            if name in left_out and not _optional(inner, position, editing.opset(function)):
                raise ConversionError(
                    f"{about}: the node has no input {name!r} (number {list(function.input).index(name) + 1}), which "
                    f"{inner.op_type} in the function needs",
                    hint="write a function for nodes without it, or give the node that input",
                )


def _require_standard(model: Any, about: str) -> None:
    """Fail on an operator that ONNX's own domain does not have at the function's opset.

    Raises:
        ConversionError: it names it.
    """
    for node, why in check.foreign_nodes(model):
        if node.domain in editing.ONNX_DOMAINS:
            raise ConversionError(
                f"{about}: operator {node.op_type} in the function {why}",
                hint="correct its name, or the opset_import of the function",
            )


def _raised(model: Any, opset: int) -> Any:
    """The same at a later opset; nothing is rewritten where the operators are what they were."""
    before = editing.opset(model)
    if before >= opset:
        return model
    own = [node for _, node in editing.walk(model.graph) if node.domain in editing.ONNX_DOMAINS]
    if any(_since(node, before) != _since(node, opset) for node in own):
        return onnx.version_converter.convert_version(model, opset)
    for item in model.opset_import:
        item.version = opset if item.domain in editing.ONNX_DOMAINS else item.version
    return model


def _since(node: Any, opset: int) -> int:
    return int(defs.get_schema(node.op_type, opset).since_version)


def _settle_casts(graph: Any) -> None:
    """CastLike as Cast, where the type that it means is known: lowering knows the one and not the other."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "CastLike" and (kind := kinds.get(node.input[1])):
            node.op_type = "Cast"
            del node.input[1:], node.attribute[:]
            node.attribute.append(helper.make_attribute("to", kind))


def _optional(node: Any, position: int, opset: int) -> bool:
    if node.domain not in editing.ONNX_DOMAINS or not defs.has(node.op_type, max_inclusive_version=opset):
        return True
    inputs = defs.get_schema(node.op_type, opset).inputs
    formal = inputs[min(position, len(inputs) - 1)]
    return bool(formal.option == defs.OpSchema.FormalParameterOption.Optional)


def _require_types(inputs: Iterable[Any], node: Any, types: Mapping[str, Any], about: str) -> None:
    """Fail where a model in a function's place takes other types."""
    for value, name in zip(inputs, node.input, strict=False):
        wanted = value.type.tensor_type.elem_type
        found = types[name].tensor_type.elem_type if name in types else 0
        if wanted and found and wanted != found:
            raise ConversionError(
                f"{about}: input {value.name!r} is {model_io.dtype_name(found)}, and the file takes "
                f"{model_io.dtype_name(wanted)}",
                hint="write it as a function, which has no types of its own",
            )
