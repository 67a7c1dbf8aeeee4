"""Element types of every tensor, and a check stricter than ONNX's: TensorRT's strong typing has no mixed operands.

The rules come from ONNX's own operator schemas: inputs and outputs that share a type parameter share a type. On top of
that all floating-point operands of a node must agree, as TensorRT demands, except where the standard gives one of them
a meaning of its own (the scales of Resize, the iou_threshold of NonMaxSuppression).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import onnx

from trtconv.core.errors import ConversionError
from trtconv.graph import editing

Type = int
"""A TensorProto.DataType."""

_P = onnx.TensorProto
FLOATS = frozenset({_P.FLOAT, _P.FLOAT16, _P.BFLOAT16, _P.DOUBLE})
"""Types that arithmetic is done in. Quantized types (INT8, FLOAT8...) are not among them."""

NUMERIC_NAMES: Mapping[Type, str] = {number: name.lower() for name, number in _P.DataType.items()}
_NUMBERS = {name: number for number, name in NUMERIC_NAMES.items()}

# Attribute that says the type of the outputs, and the type without it (0: that of the first input).
_TYPE_ATTRIBUTE = {
    "Cast": ("to", 0),
    "EyeLike": ("dtype", 0),
    "RandomNormal": ("dtype", _P.FLOAT),
    "RandomUniform": ("dtype", _P.FLOAT),
    "RandomNormalLike": ("dtype", 0),
    "RandomUniformLike": ("dtype", 0),
    "Multinomial": ("dtype", _P.INT32),
    "Bernoulli": ("dtype", 0),
    "HannWindow": ("output_datatype", _P.FLOAT),
    "HammingWindow": ("output_datatype", _P.FLOAT),
    "BlackmanWindow": ("output_datatype", _P.FLOAT),
    "MelWeightMatrix": ("output_datatype", _P.FLOAT),
}
_VALUE_KINDS = {"float": int(_P.FLOAT), "int": int(_P.INT64), "string": int(_P.STRING)}
_OWN_TYPES = {"If", "Loop", "Scan", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"}


class Scope(dict[str, Type]):
    """Types of the tensors of one graph; names from the graphs around it are found too.

    Unknown types (operators outside the standard) are absent.
    """

    def __init__(self, parent: Scope | None = None) -> None:
        super().__init__()
        self.parent = parent

    def find(self, name: str) -> Type | None:
        """The type of a tensor of this graph or of one around it."""
        if name in self:
            return self[name]
        return self.parent.find(name) if self.parent is not None else None


def name_of(element_type: Type | None) -> str:
    """``float16`` for FLOAT16, and so on."""
    return NUMERIC_NAMES.get(element_type or 0, "unknown")


@cache
def schema(op_type: str, domain: str, version: int) -> Any:
    """ONNX's schema of an operator, or None when the standard has none."""
    try:
        return onnx.defs.get_schema(op_type, version, "" if domain in editing.ONNX_DOMAINS else domain)
    except onnx.defs.SchemaError:
        return None


@cache
def allowed(op_type: str, domain: str, version: int) -> Mapping[str, frozenset[str]]:
    """Type strings such as ``tensor(float16)`` that each type parameter of an operator admits."""
    found = schema(op_type, domain, version)
    return {} if found is None else {c.type_param_str: frozenset(c.allowed_type_strs) for c in found.type_constraints}


class Formal(NamedTuple):
    """A formal parameter of an operator.

    Attributes:
        name: as the standard calls it.
        type_str: a type such as ``tensor(int64)``, or the name of a type parameter.
        is_homogeneous: whether all arguments of a variadic one share their type.
    """

    name: str
    type_str: str
    is_homogeneous: bool


Formals = tuple[tuple[Formal, ...], tuple[Formal, ...]]


def formals(node: Any, version: int) -> Formals:
    """The formal parameter of every input and of every output of a node; none for an unknown operator."""
    return _formals(node.op_type, node.domain, version, len(node.input), len(node.output))


@cache
def _formals(op_type: str, domain: str, version: int, inputs: int, outputs: int) -> Formals:
    found = schema(op_type, domain, version)
    return ((), ()) if found is None else (_spread(found.inputs, inputs), _spread(found.outputs, outputs))


def _spread(parameters: Any, count: int) -> tuple[Formal, ...]:
    """The last parameter of a variadic operator stands for all further arguments."""
    known = [Formal(one.name, one.type_str, one.is_homogeneous) for one in parameters]
    return tuple(known[min(position, len(known) - 1)] for position in range(count)) if known else ()


def infer(model: Any) -> Scope:
    """Types of all tensors of the main graph, without complaining about what does not fit together."""
    return visit_graph(model.graph, None, editing.opset(model), check_nodes=False)


def check(model: Any) -> Scope:
    """Demand that every node, in subgraphs too, gets operands of the types that it takes, and of one float type.

    Returns:
        Types of all tensors of the main graph.

    Raises:
        ConversionError: naming the node, its operator and the types that clash.
    """
    return visit_graph(model.graph, None, editing.opset(model), check_nodes=True)


def visit_graph(graph: Any, parent: Scope | None, version: int, check_nodes: bool, given: Any = ()) -> Scope:
    """Types of one graph's tensors, its nodes in order.

    Args:
        graph: a main graph or a body.
        parent: types of the graph around it.
        version: opset.
        check_nodes: whether to apply the strict rules.
        given: types of the leading inputs, where the caller knows them (bodies may leave them undeclared).
    """
    scope = Scope(parent)
    scope.update((tensor.name, tensor.data_type) for tensor in graph.initializer)
    for position, value in enumerate(graph.input):
        declared = value.type.tensor_type.elem_type or (given[position] if position < len(given) else 0)
        if declared:
            scope[value.name] = declared
    declared_inside = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    for node in graph.node:
        outputs = _outputs(node, scope, version, check_nodes)
        for name, kind in itertools.zip_longest(node.output, outputs[: len(node.output)]):
            if name and (known := kind or declared_inside.get(name)):
                scope[name] = known
    if check_nodes:
        _check_outputs(graph, scope)
    return scope


def _check_outputs(graph: Any, scope: Scope) -> None:
    for value in graph.output:
        declared, made = value.type.tensor_type.elem_type, scope.find(value.name)
        if declared and made and declared != made:
            raise ConversionError(f"output {value.name!r} is declared {name_of(declared)} but made as {name_of(made)}")


def _outputs(node: Any, scope: Scope, version: int, check_nodes: bool) -> list[Type | None]:
    """Types of a node's outputs."""
    types = [scope.find(name) if name else None for name in node.input]
    if editing.bodies(node):
        return _body_outputs(node, types, scope, version, check_nodes)
    if check_nodes:
        _check_node(node, types, version)
    known = _declared_output(node, types)
    if known is not None:
        return [known] * len(node.output)
    return _bound_outputs(node, types, version)


def _declared_output(node: Any, types: list[Type | None]) -> Type | None:
    """The output type of operators that name it outside their type parameters; None for the others."""
    op = node.op_type
    if op in _TYPE_ATTRIBUTE:
        name, default = _TYPE_ATTRIBUTE[op]
        return int(editing.attribute(node, name, default)) or (types[0] if types else None)
    if op in ("Constant", "ConstantOfShape"):
        return _value_type(node)
    if op == "CastLike":
        return types[1]
    if op == "QuantizeLinear":
        by_zero_point = types[2] if len(types) > 2 else None
        return by_zero_point or int(editing.attribute(node, "output_dtype", 0)) or _P.UINT8
    if op == "DequantizeLinear":
        return int(editing.attribute(node, "output_dtype", 0)) or types[1]
    return None


def _value_type(node: Any) -> Type:
    for item in node.attribute:
        if item.name == "value":
            return int(item.t.data_type)
        if item.name.startswith("value_"):
            return _VALUE_KINDS[item.name.removeprefix("value_").rstrip("s")]
    return int(_P.FLOAT)


def _bound_outputs(node: Any, types: list[Type | None], version: int) -> list[Type | None]:
    """Output types from the type parameters that the inputs bind, or that admit one type only."""
    ins, outs = formals(node, version)
    table = allowed(node.op_type, node.domain, version)
    bound: dict[str, Type] = {}
    for formal, kind in zip(ins, types, strict=False):
        if kind is not None:
            bound.setdefault(formal.type_str, kind)
    return [
        bound.get(formal.type_str) or _only(table.get(formal.type_str, frozenset({formal.type_str}))) for formal in outs
    ]


def _only(admitted: frozenset[str]) -> Type | None:
    """The one tensor type that a parameter admits; None when there are several."""
    if len(admitted) != 1:
        return None
    return _NUMBERS.get(next(iter(admitted)).removeprefix("tensor(").removesuffix(")"))


def _body_outputs(node: Any, types: list[Type | None], scope: Scope, version: int, check_nodes: bool) -> list[Any]:
    """Types of what If, Loop and Scan make: those of their bodies' outputs."""
    given = [_P.INT64, _P.BOOL, *types[2:]] if node.op_type == "Loop" else types if node.op_type == "Scan" else []
    results = []
    for body in editing.bodies(node):
        inner = visit_graph(body, scope, version, check_nodes, given)
        results.append([inner.find(value.name) or value.type.tensor_type.elem_type or None for value in body.output])
    if check_nodes and node.op_type == "If":
        for position, (first, second) in enumerate(zip(*results, strict=False)):
            _same(node, f"output {position} of its branches", first, second)
    outputs = results[0][1:] if node.op_type == "Loop" else results[0]
    if check_nodes and node.op_type == "Loop":
        for position, (carried, made) in enumerate(zip(types[2:], outputs, strict=False)):
            _same(node, f"loop-carried value {position}", carried, made)
    return outputs


def _same(node: Any, what: str, first: Type | None, second: Type | None) -> None:
    if first and second and first != second:
        raise ConversionError(
            f"node {editing.label(node)!r} ({node.op_type}): {what} is both {name_of(first)} and {name_of(second)}"
        )


def _check_node(node: Any, types: list[Type | None], version: int) -> None:
    ins, _ = formals(node, version)
    table = allowed(node.op_type, node.domain, version)
    bound: dict[str, Type] = {}
    for position, (formal, kind) in enumerate(zip(ins, types, strict=False)):
        if kind is None:
            continue
        _check_admitted(node, position, kind, table.get(formal.type_str, frozenset({formal.type_str})))
        if formal.is_homogeneous:
            _same(node, f"type of its operands ({formal.type_str})", bound.setdefault(formal.type_str, kind), kind)
    if node.op_type not in _OWN_TYPES:
        _check_one_float(node, ins, types)


def _check_admitted(node: Any, position: int, kind: Type, admitted: frozenset[str]) -> None:
    if f"tensor({name_of(kind)})" not in admitted:
        raise ConversionError(
            f"node {editing.label(node)!r}: {node.op_type} does not take input {position} "
            f"({node.input[position]!r}) as {name_of(kind)}"
        )


def _check_one_float(node: Any, ins: Sequence[Formal], types: list[Type | None]) -> None:
    """TensorRT's rule: one floating-point type per node, whatever type parameters the standard gives."""
    kinds = [kind for formal, kind in zip(ins, types, strict=False) if kind in FLOATS and _shares(node, formal)]
    for kind in kinds[1:]:
        _same(node, "type of its float operands", kinds[0], kind)


def _shares(node: Any, formal: Any) -> bool:
    """Whether a parameter falls under the one-float-type rule: one of a fixed type does not, and Resize's roi."""
    return not formal.type_str.startswith("tensor(") and (node.op_type, formal.name) != ("Resize", "roi")
