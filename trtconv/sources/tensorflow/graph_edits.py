"""Changes to a GraphDef before it is converted: inputs that become constants, dropout that is off, new inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.errors import SourceError, UsageError
from trtconv.core.records import CutInput
from trtconv.sources.tensorflow import graph_reader, graphdef
from trtconv.sources.tensorflow.frozen_graph import Endpoint, public_dims

RANDOM = {
    "RandomUniform",
    "RandomStandardNormal",
    "StatelessRandomUniform",
    "StatelessRandomUniformV2",
    "StatelessRandomNormal",
    "StatelessRandomNormalV2",
    "TruncatedNormal",
    "Multinomial",
}
_UNIFORM = {name for name in RANDOM if "Uniform" in name}
_LARGEST_BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))


def fix_constants(graph: Any, values: Iterable[tuple[str, float | int | bool]], path: Path) -> None:
    """Turn placeholders into constants, in place.

    Raises:
        SourceError: no such node.
        UsageError: a node that is no placeholder.
    """
    nodes = {node.name: node for node in graph.node}
    for name, value in values:
        graph_reader.require_node(name, graphdef.rows(graph), f"{path}: source.constants")
        node = nodes[name]
        if node.op not in ("Placeholder", "PlaceholderWithDefault"):
            raise UsageError(
                f"source.constants.{name}: the node is a {node.op}, not a placeholder",
                hint="name a placeholder, such as keep_prob or is_training",
            )
        _become_constant(node, value)


def _become_constant(node: Any, value: float | int | bool) -> None:
    from tensorflow import as_dtype
    from tensorflow.python.framework.tensor_util import make_tensor_proto

    number = node.attr["dtype"].type
    del node.input[:]
    node.op = "Const"
    node.attr.clear()
    node.attr["dtype"].type = number
    dtype = as_dtype(number)
    node.attr["value"].tensor.CopyFrom(make_tensor_proto(np.array(value, dtype.as_numpy_dtype), dtype, ()))


def drop_idle_dropout(graph: Any) -> int:
    """Take out random masks that let everything through, in place; how many there were.

    Dropout multiplies by a mask made of a random number u in [0, 1). With a rate of 0 the mask is 1 for every u: that
    is computed for the two ends of the range, between which the operators that make masks are monotonous.
    """
    nodes = {node.name: node for node in graph.node}
    count = 0
    for node in graph.node:
        data = [name for name in node.input if not name.startswith("^")]
        if node.op in ("Mul", "SelectV2", "Select") and len(data) >= 2:
            kept = _kept_input(node.op, data, nodes)
            if kept is not None:
                _become_identity(node, kept)
                count += 1
    return count


def _kept_input(op: str, data: list[str], nodes: Mapping[str, Any]) -> str | None:
    """What a node passes on whatever the random numbers are; None when that depends on them."""
    if op != "Mul":
        return data[1] if _is_always_one(data[0], nodes) else None
    for mask, other in ((data[0], data[1]), (data[1], data[0])):
        if _is_always_one(mask, nodes):
            return other
    return None


def _is_always_one(name: str, nodes: Mapping[str, Any]) -> bool:
    if not _draws(name, nodes):
        return False
    return all(_value(name, nodes, u) == 1 for u in (0.0, _LARGEST_BELOW_1))


def _draws(name: str, nodes: Mapping[str, Any], depth: int = 12) -> bool:
    node = nodes.get(graph_reader.node_of(name))
    if node is None or depth == 0 or node.op not in (*_UNIFORM, *_MASK_OPS):
        return False
    return node.op in _UNIFORM or any(_draws(i, nodes, depth - 1) for i in node.input if not i.startswith("^"))


_MASK_OPS = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Floor": np.floor,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "Cast": float,
    "Identity": lambda x: x,
    "PlaceholderWithDefault": lambda x: x,
}


def _value(name: str, nodes: Mapping[str, Any], uniform: float) -> float | None:
    """The scalar that a node computes when every random number is ``uniform``; None when it is not such a scalar."""
    node = nodes.get(graph_reader.node_of(name))
    if node is None:
        return None
    if node.op in _UNIFORM:
        return uniform
    if node.op == "Const":
        from tensorflow import make_ndarray

        tensor = node.attr["value"].tensor
        if any(dim.size != 1 for dim in tensor.tensor_shape.dim):
            return None
        array = make_ndarray(tensor)
        return float(array.item()) if array.dtype.kind in "fiub" else None
    if node.op not in _MASK_OPS:
        return None
    values = [_value(i, nodes, uniform) for i in node.input if not i.startswith("^")]
    if None in values:
        return None
    function: Any = _MASK_OPS[node.op]
    return float(function(*map(np.float32, values)))


def _become_identity(node: Any, source: str) -> None:
    dtype = node.attr["T"].type
    del node.input[:]
    node.input.append(source)
    node.op = "Identity"
    node.attr.clear()
    node.attr["T"].type = dtype


def random_nodes(graph: Any) -> list[str]:
    """Names of nodes that draw random numbers."""
    return [node.name for node in graph.node if node.op in RANDOM]


def cut(graph: Any, cuts: Iterable[CutInput], path: Path) -> tuple[Endpoint, ...]:
    """Turn nodes into inputs, in place: what made them is no longer needed.

    Returns:
        The inputs.

    Raises:
        SourceError: no such node, or one without a shape.
    """
    wanted = list(cuts)
    nodes = graphdef.rows(graph)
    for spec in wanted:
        graph_reader.require_node(spec.node, nodes, f"{path}: register_input")
    inner = [spec.node for spec in wanted if not _is_placeholder(graph, spec.node)]
    known = _tensors(graph, inner) if inner else {}
    return tuple(_cut(graph, spec, known.get(spec.node), path) for spec in wanted)


def _is_placeholder(graph: Any, name: str) -> bool:
    return any(node.name == name and node.op.startswith("Placeholder") for node in graph.node)


def _tensors(graph: Any, names: Iterable[str]) -> dict[str, tuple[int, tuple[int, ...] | None]]:
    """DataType number and shape of tensors inside a graph, as TensorFlow infers them."""
    import tensorflow

    with tensorflow.Graph().as_default() as native:
        tensorflow.import_graph_def(graph, name="")
    found = {}
    for name in names:
        tensor = native.get_tensor_by_name(name if ":" in name else f"{name}:0")
        shape = None if tensor.shape.rank is None else tuple(-1 if d is None else d for d in tensor.shape.as_list())
        found[name] = (tensor.dtype.as_datatype_enum, shape)
    return found


def _cut(graph: Any, spec: CutInput, known: Any, path: Path) -> Endpoint:
    node = next(node for node in graph.node if node.name == graph_reader.node_of(spec.node))
    number, shape = known or (node.attr["dtype"].type, graphdef.sizes(node, old=graphdef.is_old(graph)))
    if spec.dtype:
        number = graph_reader.dtype_number(spec.dtype)
    if spec.shape is not None:
        shape = tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in spec.shape)
    if shape is None:
        raise SourceError(
            f"{path}: input {spec.node!r} has no shape in the graph",
            hint=f"say it: source.register_input: {{{spec.node}: [C, H, W]}}, or give it a value: "
            f"source.constants: {{{spec.node}: 1.0}} (--constant {spec.node}=1.0)",
        )
    name = spec.name or graph_reader.node_of(spec.node)
    target = node.name
    if ":" in spec.node and not spec.node.endswith(":0"):  # one of several outputs: readers are moved to a new node
        target = f"{node.name}_{spec.node.partition(':')[2]}_input"
        for reader in graph.node:
            for position, read in enumerate(reader.input):
                if read == spec.node:
                    reader.input[position] = target
        node = graph.node.add(name=target)
    del node.input[:]
    node.op = "Placeholder"
    node.attr.clear()
    node.attr["dtype"].type = number
    for size in shape:
        node.attr["shape"].shape.dim.add(size=size)
    dims = public_dims(name, shape) if spec.shape is None else _named(name, spec.shape)
    return Endpoint(name, f"{target}:0", graph_reader.dtype_name(number), dims)


def _named(name: str, shape: tuple[Any, ...]) -> tuple[Any, ...]:
    default = public_dims(name, [dim if isinstance(dim, int) else -1 for dim in shape])
    return tuple(dim if isinstance(dim, str) else known for dim, known in zip(shape, default, strict=True))
